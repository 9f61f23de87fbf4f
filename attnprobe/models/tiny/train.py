"""Train `tiny` from nothing: ``python -m attnprobe.models.tiny.train --out checkpoints/tiny``.

First the autoencoder, then the UNet with the text encoder (noise prediction), then the export to a
pipeline folder. Each stage may be stopped at any moment and goes on from its last checkpoint.
Scenes are drawn by the program itself; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import nn

from attnprobe.data.scenes import Style, make_scene
from attnprobe.models.tiny import architecture

STYLES: tuple[Style, ...] = ("as-is",) * 8 + ("sketch", "paint")
"""Style of scene n: STYLES[n % 10]."""

EMPTY_CAPTIONS = 0.15


def draw_training_scene(number: int) -> tuple[np.ndarray, str]:
    """Picture and caption of one scene of the training split."""
    scene = make_scene("train", number, STYLES[number % len(STYLES)])
    return scene.image, scene.caption


class Scenes:
    """Training scenes in memory, drawn into batches with random turns.

    A batch is (pictures (B, 3, 128, 128) in [−1, 1], token ids (B, 77)). Captions are emptied with
    probability `EMPTY_CAPTIONS`; pictures of those also get their colour channels permuted, which
    a caption would belie.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            drawn = list(pool.map(draw_training_scene, range(count), chunksize=32))
        pixels = np.stack([image for image, _ in drawn])
        self.tokenizer = architecture.make_tokenizer()
        self.pixels = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(device)
        self.ids = self._encode([caption for _, caption in drawn]).to(device)
        self.empty = self._encode([""]).to(device)
        self.device = device

    def _encode(self, captions: list[str]) -> torch.Tensor:
        return self.tokenizer(
            captions,
            padding="max_length",
            truncation=True,
            max_length=architecture.CAPTION_TOKENS,
            return_tensors="pt",
        ).input_ids

    def batch(self, size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a batch."""

        def chance(probability: float) -> torch.Tensor:
            draws = torch.rand(size, generator=generator, device=self.device)
            return draws < probability

        chosen = torch.randint(len(self.ids), (size,), generator=generator, device=self.device)
        images, ids = self.pixels[chosen], self.ids[chosen]
        for turn in (lambda x: x.flip(2), lambda x: x.flip(3), lambda x: x.transpose(2, 3)):
            images = torch.where(chance(0.5)[:, None, None, None], turn(images), images)
        dropped = chance(EMPTY_CAPTIONS)
        order = torch.rand(size, 3, generator=generator, device=self.device).argsort(1)
        permuted = images.gather(1, order[:, :, None, None].expand_as(images))
        images = torch.where(dropped[:, None, None, None], permuted, images)
        ids = torch.where(dropped[:, None], self.empty, ids)
        images = images.to(memory_format=torch.channels_last)
        return images.float() / 127.5 - 1, ids


class Trainer:
    """AdamW with warm-up and cosine decay, an exponential average, and checkpoints to resume."""

    def __init__(
        self, name: str, parts: nn.ModuleDict, args: argparse.Namespace, steps: int, rate: float
    ) -> None:
        self.name, self.args, self.steps = name, args, steps
        self.device = torch.device(args.device)
        movable: Any = parts  # torch's stubs miss this form of `to`
        self.parts: nn.ModuleDict = movable.to(self.device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.parts).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.parts.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.rate, self.step = rate, 0
        self.generator = torch.Generator(self.device).manual_seed(args.seed)
        self.path = Path(args.out) / f"{name}.pt"
        if self.path.exists():
            self._load()

    def run(self, loss: Callable[[torch.Generator], torch.Tensor]) -> nn.ModuleDict:
        """Train to the end and return the averaged parts."""
        started, first, shown = time.monotonic(), self.step, 0.0
        saved = started
        while self.step < self.steps:
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate_now()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=not self.args.float32):
                value = loss(self.generator)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(self.parts.parameters(), 1.0)
            self.optimizer.step()
            self._update_average()
            self.step += 1
            if self.step % 50 == 0:
                shown = value.item() if not shown else 0.8 * shown + 0.2 * value.item()
            if self.step % 250 == 0:
                pace = (self.step - first) / (time.monotonic() - started)
                print(
                    f"{self.name} {self.step}/{self.steps} loss {shown:.4f} {pace:.2f} steps/s",
                    flush=True,
                )
            if time.monotonic() - saved > 120:
                self._save()
                saved = time.monotonic()
        if self.step > first:
            self._save()
        return self.average.eval()

    def _rate_now(self) -> float:
        warm = min(1.0, (self.step + 1) / 150)
        return self.rate * warm * 0.5 * (1 + math.cos(math.pi * self.step / self.steps))

    def _update_average(self) -> None:
        keep = min(self.args.ema, (1 + self.step) / (10 + self.step))
        averaged, current = list(self.average.parameters()), list(self.parts.parameters())
        torch._foreach_lerp_(averaged, [p.detach() for p in current], 1 - keep)

    def _save(self) -> None:
        state = {
            "step": self.step,
            "parts": self.parts.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)

    def _load(self) -> None:
        state = torch.load(self.path, map_location=self.device, weights_only=True)
        self.step = state["step"]
        self.parts.load_state_dict(state["parts"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        print(f"{self.name}: going on from step {self.step}", flush=True)


def train_vae(args: argparse.Namespace, scenes: Scenes) -> Any:
    """Train the autoencoder and set its scaling factor to one over the latents' deviation."""
    parts = nn.ModuleDict({"vae": architecture.make_vae()})
    trainer = Trainer("vae", parts, args, args.vae_steps, 1e-3)
    vae: Any = trainer.parts["vae"]

    def loss(generator: torch.Generator) -> torch.Tensor:
        images, _ = scenes.batch(args.vae_batch, generator)
        posterior = vae.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator, device=images.device)
        error = vae.decode(posterior.mean + posterior.std * noise).sample - images
        divergence = posterior.mean.square() + posterior.var - 1 - posterior.logvar
        return error.abs().mean() + error.square().mean() + 5e-5 * divergence.mean()

    averaged: Any = trainer.run(loss)["vae"]
    with torch.no_grad():
        generator = torch.Generator(trainer.device).manual_seed(0)
        images, _ = scenes.batch(min(512, len(scenes.ids)), generator)
        latents = torch.cat([averaged.encode(x).latent_dist.mean for x in images.split(64)])
        error = torch.cat([averaged.decode(x).sample for x in latents[:128].split(64)])
        error = (error - images[:128]).square().mean()
    averaged.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    print(f"vae: scaling {averaged.config.scaling_factor}, PSNR {10 * math.log10(4 / error):.1f}")
    return averaged


def train_unet(args: argparse.Namespace, scenes: Scenes, vae: Any) -> nn.ModuleDict:
    """Train UNet and text encoder to predict the noise (DDPM, Ho et al. 2020, equation 14)."""
    parts = nn.ModuleDict(
        {
            "unet": architecture.make_unet(),
            "text_encoder": architecture.make_text_encoder(scenes.tokenizer),
        }
    )
    if args.start:
        started = StableDiffusionPipeline.from_pretrained(args.start)
        parts["unet"].load_state_dict(started.unet.state_dict())
        parts["text_encoder"].load_state_dict(started.text_encoder.state_dict())
    trainer = Trainer("unet", parts, args, args.steps, args.rate)
    unet: Any = trainer.parts["unet"]
    text_encoder: Any = trainer.parts["text_encoder"]
    alphas = architecture.make_scheduler().alphas_cumprod.to(trainer.device)
    encode: Any = vae.encode
    if args.compile:
        unet, encode = torch.compile(unet), torch.compile(vae.encode)

    def loss(generator: torch.Generator) -> torch.Tensor:
        images, ids = scenes.batch(args.batch, generator)
        with torch.no_grad():
            latents = encode(images).latent_dist.mean * vae.config.scaling_factor
        draws = torch.rand(len(images), generator=generator, device=images.device)
        t = (1000 * draws**args.skew).long()
        noise = torch.randn(latents.shape, generator=generator, device=images.device)
        signal = alphas[t][:, None, None, None]
        noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
        words = text_encoder(ids).last_hidden_state
        return F.mse_loss(unet(noisy, t, words, return_dict=False)[0].float(), noise)

    return trainer.run(loss)


def export(args: argparse.Namespace, scenes: Scenes, vae: Any, parts: nn.ModuleDict) -> None:
    """Save the whole as a diffusers pipeline folder of float16 safetensors."""
    halved = {name: part.to("cpu", torch.float16) for name, part in [*parts.items(), ("vae", vae)]}
    pipeline = architecture.make_pipeline(
        **halved, tokenizer=scenes.tokenizer, scheduler=architecture.make_scheduler()
    )
    pipeline.save_pretrained(Path(args.out) / "pipeline")
    print(f"wrote {Path(args.out) / 'pipeline'}")


def main(argv: Iterable[str] | None = None) -> None:
    """Run the three stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="checkpoints/tiny", help="checkpoints and result")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--scenes", type=int, default=8000, help="scenes kept in memory")
    parser.add_argument("--vae-steps", type=int, default=3000)
    parser.add_argument("--vae-batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=8e-4, help="highest learning rate")
    parser.add_argument("--skew", type=float, default=1.0, help="timesteps are 1000·u^skew")
    parser.add_argument("--start", help="pipeline folder whose weights the UNet starts from")
    parser.add_argument("--float32", action="store_true", help="faster on CPUs without AMX")
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the weights' average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="torch.compile, worth it on a GPU")
    args = parser.parse_args(None if argv is None else list(argv))
    torch.manual_seed(args.seed)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    scenes = Scenes(args.scenes, torch.device(args.device))
    finished = Path(args.out) / "vae"
    if not finished.exists():
        train_vae(args, scenes).save_pretrained(finished)
    vae = AutoencoderKL.from_pretrained(finished).to(args.device).eval().requires_grad_(False)
    parts = train_unet(args, scenes, vae)
    export(args, scenes, vae, parts)


if __name__ == "__main__":
    main()
