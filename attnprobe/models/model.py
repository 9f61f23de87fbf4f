"""A loaded pipeline, and the one denoising pass that shows its attention."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from attnprobe.errors import ModelError
from attnprobe.models.inputs import check_inputs
from attnprobe.models.noise import shares

if TYPE_CHECKING:
    from PIL.Image import Image


class Model:
    """A latent diffusion pipeline with a UNet, ready to be probed.

    Args:
        pipe: the diffusers pipeline.
        device: where it works.
        name: preset, folder or hub name.
        revision: commit on the hub, or None.

    Raises:
        ModelError: the pipeline has no VAE or no UNet, or its UNet takes more than the latent of
            an image, a timestep and a prompt.
    """

    def __init__(
        self,
        pipe: Any,
        device: torch.device,
        name: str,
        revision: str | None = None,
    ) -> None:
        check_inputs(pipe, name)
        self.pipe, self.device, self.name, self.revision = pipe, device, name, revision
        pipe.set_progress_bar_config(disable=True)
        pipe.to(device)
        if pipe.vae.dtype == torch.float16 and pipe.vae.config.get("force_upcast", False):
            pipe.vae.to(torch.float32)  # SDXL's VAE overflows in float16

    @property
    def denoiser(self) -> Any:
        """The UNet."""
        return self.pipe.unet

    @property
    def size(self) -> int:
        """Side in pixels of the pictures it was trained on."""
        return self.denoiser.config.sample_size * self.pipe.vae_scale_factor

    @property
    def multiple(self) -> int:
        """What a picture's sides must be a multiple of, for every token grid to be whole."""
        return self.pipe.vae_scale_factor * 2 ** (len(self.denoiser.config.down_block_types) - 1)

    def describe(self) -> dict[str, Any]:
        """What identifies the model in a run's records."""
        return {
            "model": self.name,
            "revision": self.revision,
            "pipeline": type(self.pipe).__name__,
            "parameters": self._parameters,
            "dtype": str(self.denoiser.dtype).removeprefix("torch."),
            "device": str(self.device),
        }

    @functools.cached_property
    def _parameters(self) -> int:
        return sum(p.numel() for p in self.denoiser.parameters())

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, H, W) in [−1, 1] as latents: the posterior's mean, no sampling.

        They are shifted and scaled as the VAE's config says, by channel where it does so.

        Raises:
            ModelError: the VAE gives no distribution of latents.
        """
        vae = self.pipe.vae
        encoded = vae.encode(pixels.to(self.device, vae.dtype))
        if not hasattr(encoded, "latent_dist"):
            raise ModelError(
                f"model {self.name}: its VAE, {type(vae).__name__}, gives no distribution of "
                "latents, whose mean is what a denoiser is shown"
            )
        config, latents = vae.config, encoded.latent_dist.mean
        if config.get("latents_mean") and config.get("latents_std"):
            mean, deviation = (
                torch.tensor(config[key]).view(1, -1, 1, 1).to(latents)
                for key in ("latents_mean", "latents_std")
            )
            latents = (latents - mean) / deviation
        elif config.get("shift_factor"):
            latents = latents - config.shift_factor
        return (latents * config.scaling_factor).to(self.denoiser.dtype)

    def add_noise(self, latents: torch.Tensor, timestep: int, seed: int) -> torch.Tensor:
        """Noise as in the model's training at a timestep, the same for a seed on every device.

        Which sampler the pipeline has, and what was drawn before, changes nothing.

        Raises:
            ModelError: how the model was trained isn't known; see `noise.shares`.
        """
        signal, strength = shares(self.pipe.scheduler, timestep)
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
        return signal.to(latents.device) * latents + strength.to(latents.device) * noise.to(latents)

    @torch.no_grad()
    def denoise(self, latents: torch.Tensor, timestep: int, prompt: str = "") -> torch.Tensor:
        """One pass of the denoiser on latents (1, C, h, w), without guidance; the prediction."""
        embeds, pooled = self._encode_prompt(prompt)
        conditions: dict[str, Any] = {"encoder_hidden_states": embeds}
        if self.denoiser.config.get("addition_embed_type") == "text_time":
            height, width = (side * self.pipe.vae_scale_factor for side in latents.shape[-2:])
            sizes = [[height, width, 0, 0, height, width]]
            conditions["added_cond_kwargs"] = {
                "text_embeds": pooled,
                "time_ids": torch.tensor(sizes, device=self.device, dtype=latents.dtype),
            }
        t = torch.tensor(timestep, device=self.device)
        return self.denoiser(latents, t, **conditions).sample

    def draw(self, prompt: str, steps: int, guidance: float, seed: int) -> Image:
        """Have the pipeline draw a picture at its own size; the same for a seed on a device.

        Raises:
            ModelError: its scheduler has no such number of steps.
        """
        generator = torch.Generator().manual_seed(seed)
        try:
            drawn = self.pipe(
                prompt, num_inference_steps=steps, guidance_scale=guidance, generator=generator
            )
        except (IndexError, ValueError) as error:
            raise ModelError(
                f"model {self.name} can't draw in {steps} steps with guidance {guidance:g}: {error}"
            ) from error
        return drawn.images[0].convert("RGB")

    def _encode_prompt(self, prompt: str) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Token embeddings of the prompt, and the pooled embedding where the model has one."""
        given = {"device": self.device, "num_images_per_prompt": 1}
        encoded = self.pipe.encode_prompt(prompt, do_classifier_free_guidance=False, **given)
        return encoded[0], encoded[2] if len(encoded) > 2 else None
