"""Train `tiny`: ``python -m attnprobe.models.tiny.train --out checkpoints/tiny``.

First the autoencoder, then the UNet with the text encoder (noise prediction), then the export to a
pipeline folder. Training takes the minutes it is given, may be stopped at any moment and goes on
from its last checkpoint with ``--resume``. Scenes are drawn by the program itself; photographs are
yours, in a folder of JPEG files. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import nn

from attnprobe.models.tiny import architecture
from attnprobe.models.tiny.corpus import Corpus, encoder
from attnprobe.models.tiny.pictures import KINDS, Drawn, list_photographs
from attnprobe.models.tiny.trainer import Trainer


def train_vae(args: argparse.Namespace, drawn: Drawn) -> Any:
    """Train the autoencoder and set its scaling factor to one over the latents' deviation."""
    parts = nn.ModuleDict({"vae": architecture.make_vae()})
    trainer = Trainer("vae", parts, args, args.vae_minutes, 1e-3)
    vae: Any = trainer.parts["vae"]
    pictures = torch.cat([torch.from_numpy(found) for _, found, _ in drawn])
    pictures = pictures.permute(0, 3, 1, 2).contiguous().to(trainer.device)

    def batch(size: int, generator: torch.Generator) -> torch.Tensor:
        chosen = torch.randint(len(pictures), (size,), generator=generator, device=trainer.device)
        found = pictures[chosen].float() / 127.5 - 1
        return found.to(memory_format=torch.channels_last)

    def loss(generator: torch.Generator) -> torch.Tensor:
        images = batch(args.vae_batch, generator)
        posterior = vae.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator, device=images.device)
        error = vae.decode(posterior.mean + posterior.std * noise).sample - images
        divergence = posterior.mean.square() + posterior.var - 1 - posterior.logvar
        return error.abs().mean() + error.square().mean() + 5e-5 * divergence.mean()

    averaged: Any = trainer.run(loss, args.vae_batch)["vae"]
    with torch.no_grad():
        images = batch(min(512, len(pictures)), torch.Generator(trainer.device).manual_seed(0))
        latents = torch.cat([averaged.encode(x).latent_dist.mean for x in images.split(64)])
        error = torch.cat([averaged.decode(x).sample for x in latents[:128].split(64)])
        error = (error - images[:128]).square().mean()
    averaged.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    print(f"vae: scaling {averaged.config.scaling_factor}, PSNR {10 * math.log10(4 / error):.1f}")
    return averaged


def train_unet(args: argparse.Namespace, corpus: Corpus) -> nn.ModuleDict:
    """Train UNet and text encoder to predict the noise (DDPM, Ho et al. 2020, equation 14)."""
    parts = nn.ModuleDict(
        {
            "unet": architecture.make_unet(),
            "text_encoder": architecture.make_text_encoder(corpus.tokenizer),
        }
    )
    if args.start:
        started = StableDiffusionPipeline.from_pretrained(args.start)
        parts["unet"].load_state_dict(started.unet.state_dict())
        parts["text_encoder"].load_state_dict(started.text_encoder.state_dict())
    trainer = Trainer("unet", parts, args, args.minutes, args.rate)
    text_encoder: Any = trainer.parts["text_encoder"]
    unet: Any = trainer.parts["unet"]
    if args.compile:
        unet = torch.compile(unet, dynamic=False)
    alphas = architecture.make_scheduler().alphas_cumprod.to(trainer.device)

    def loss(generator: torch.Generator) -> torch.Tensor:
        latents, ids = corpus.batch(args.batch, generator)
        draws = torch.rand(len(latents), generator=generator, device=latents.device)
        t = (1000 * draws**args.skew).long()
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        signal = alphas[t][:, None, None, None]
        noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
        words = text_encoder(ids).last_hidden_state
        noisy = noisy.to(memory_format=torch.channels_last)
        return F.mse_loss(unet(noisy, t, words, return_dict=False)[0].float(), noise)

    corpus.wait(args.wait)
    return trainer.run(loss, args.batch)


def export(args: argparse.Namespace, corpus: Corpus, vae: Any, parts: nn.ModuleDict) -> None:
    """Save the whole as a diffusers pipeline folder of float16 safetensors."""
    halved = {name: part.to("cpu", torch.float16) for name, part in [*parts.items(), ("vae", vae)]}
    pipeline = architecture.make_pipeline(
        **halved, tokenizer=corpus.tokenizer, scheduler=architecture.make_scheduler()
    )
    pipeline.save_pretrained(Path(args.out) / "pipeline")
    print(f"wrote {Path(args.out) / 'pipeline'}", flush=True)


def options() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="checkpoints/tiny", help="checkpoints and result")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=12, help="of the UNet's training, in all")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--skew", type=float, default=1.5, help="timesteps are 1000·u^skew")
    parser.add_argument("--ema", type=float, default=0.9995, help="decay of the weights' average")
    parser.add_argument("--start", help="pipeline folder whose weights the UNet starts from")
    parser.add_argument("--photographs", help="folder of JPEG files")
    parser.add_argument(
        "--pictures",
        type=int,
        nargs=3,
        default=(60000, 40000, 100000),
        help="how many drawn scenes, photo-like scenes and crops of photographs",
    )
    parser.add_argument(
        "--shares", type=float, nargs=3, default=(0.35, 0.2, 0.45), help="their shares in a batch"
    )
    parser.add_argument("--wait", type=float, default=0.03, help="share wanted before the start")
    parser.add_argument("--vae-minutes", type=float, default=4)
    parser.add_argument("--vae-batch", type=int, default=16)
    parser.add_argument("--vae-pictures", type=int, default=8000)
    parser.add_argument("--float32", action="store_true", help="faster on CPUs without AMX")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="torch.compile, worth it on a GPU")
    parser.add_argument("--every", type=float, default=2, help="minutes between checkpoints")
    return parser  # fmt: skip


def main(argv: Iterable[str] | None = None) -> None:
    """Run the three stages."""
    args = options().parse_args(None if argv is None else list(argv))
    torch.manual_seed(args.seed)
    if torch.device(args.device).type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    photographs = list_photographs(args.photographs)
    counts = dict(zip(KINDS, args.pictures, strict=True))
    if not photographs:
        counts["photograph"] = 0
    finished = Path(args.out) / "vae"
    if not finished.exists():
        scale = args.vae_pictures / sum(counts.values())
        few = {kind: math.ceil(count * scale) for kind, count in counts.items()}
        train_vae(args, Drawn(few, photographs)).save_pretrained(finished)
    vae = AutoencoderKL.from_pretrained(finished).to(args.device)
    shares = dict(zip(KINDS, args.shares, strict=True))
    encode = encoder(vae, bfloat16=not args.float32)
    corpus = Corpus(Drawn(counts, photographs), encode, shares, torch.device(args.device))
    parts = train_unet(args, corpus)
    export(args, corpus, vae, parts)


if __name__ == "__main__":
    main()
