"""Families of denoisers: what differs between them, beside what their pipelines do themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from attnprobe.errors import ModelError

Encode = Callable[[Any, torch.Tensor], torch.Tensor]
"""A pipeline and pixels (B, 3, H, W) in [−1, 1] to latents (B, C, h, w) as it denoises them."""


def encode_kl(pipe: Any, pixels: torch.Tensor) -> torch.Tensor:
    """The posterior's mean, shifted and scaled as the VAE's config says, by channel if it does."""
    return _scaled(pipe.vae.config, _mean(pipe, pixels))


def encode_frame(pipe: Any, pixels: torch.Tensor) -> torch.Tensor:
    """A VAE of videos: the picture is one frame."""
    return _scaled(pipe.vae.config, _mean(pipe, pixels[:, :, None])).squeeze(2)


def encode_deep(pipe: Any, pixels: torch.Tensor) -> torch.Tensor:
    """A deep compression autoencoder: its latents are no distribution."""
    return pipe.vae.encode(pixels).latent * pipe.vae.config.scaling_factor


def encode_patched(pipe: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Flux.2's: latents in patches of 2×2, normalised by channel; the pipeline's own method."""
    return pipe._encode_vae_image(pixels, generator=None)


def _mean(pipe: Any, pixels: torch.Tensor) -> torch.Tensor:
    encoded = pipe.vae.encode(pixels)
    if not hasattr(encoded, "latent_dist"):
        raise ModelError(
            f"its VAE, {type(pipe.vae).__name__}, gives no distribution of latents, whose mean is "
            "what a denoiser is shown"
        )
    return encoded.latent_dist.mean


def _scaled(config: Any, latents: torch.Tensor) -> torch.Tensor:
    by_channel = config.get("latents_mean") and config.get("latents_std")
    if not by_channel and "scaling_factor" not in config:
        raise ModelError("its VAE's config doesn't say by what latents are scaled")
    if by_channel:
        shape = (1, -1, *[1] * (latents.ndim - 2))
        mean, deviation = (
            torch.tensor(config[key]).view(shape).to(latents)
            for key in ("latents_mean", "latents_std")
        )
        latents = (latents - mean) / deviation
    elif config.get("shift_factor"):
        latents = latents - config.shift_factor
    return latents * config.get("scaling_factor", 1.0)


def told_guidance(pipe: Any) -> dict[str, float]:
    """The scale that a distilled denoiser is told in each pass; nothing where it is told none."""
    always = type(pipe).__name__ == "Flux2Pipeline"
    if not (always or pipe.transformer.config.get("guidance_embeds")):
        return {}
    return {"guidance": inspect.signature(pipe.__call__).parameters["guidance_scale"].default}


OFF = {"guidance_scale": 1.0}
"""What turns guidance off in most pipelines."""

EXACT = {**OFF, "use_resolution_binning": False}
"""The same where pictures would else be brought to sizes of the training."""


@dataclass(frozen=True)
class Family:
    """What a pipeline's call is given beside prompt, latents and size, and how pictures get there.

    Args:
        call: arguments that leave one pass, without guidance. A scale that a distilled model is
            *told*, as Flux.1-dev is, is none of these: it stays the call's own default.
        encode: pixels to latents.
        packed: whether the call takes latents as tokens of 2×2.
        latent: side of a latent in the VAE's own; 2 where patches of them are denoised.
        token: side of a token in the VAE's latents; the denoiser's `patch_size` by default.
        size: side in pixels of its pictures, where its config doesn't say.
    """

    call: Mapping[str, Any] = field(default_factory=lambda: OFF)
    encode: Encode = encode_kl
    packed: bool = False
    latent: int = 1
    token: int | None = None
    size: int | None = None


FAMILIES: dict[str, Family] = {
    "StableDiffusion3Pipeline": Family(),
    "FluxPipeline": Family({}, packed=True, token=2),
    "ChromaPipeline": Family(packed=True, token=2),
    "Flux2Pipeline": Family({}, encode_patched, latent=2, token=2),
    "QwenImagePipeline": Family({"true_cfg_scale": 1.0}, encode_frame, packed=True, token=2),
    "ZImagePipeline": Family({"guidance_scale": 0.0}, token=2, size=1024),
    "PixArtAlphaPipeline": Family(EXACT),
    "PixArtSigmaPipeline": Family(EXACT),
    "SanaPipeline": Family(EXACT, encode_deep),
    "Lumina2Pipeline": Family(),
    "CogView4Pipeline": Family(),
    "AuraFlowPipeline": Family(),
    "HunyuanDiTPipeline": Family(EXACT),
}
"""Pipelines with a transformer, by the name of their class in diffusers."""
