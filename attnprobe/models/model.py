"""A loaded pipeline, and the one denoising pass that shows its attention."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from attnprobe.errors import ModelError
from attnprobe.hooks import TokenMaps
from attnprobe.models.families import Family, encode_kl, told_guidance
from attnprobe.models.inputs import check_at_rest, family_of
from attnprobe.models.noise import shares
from attnprobe.models.one_step import one_pass
from attnprobe.models.text import word_places

if TYPE_CHECKING:
    from PIL.Image import Image


TEXT_TOKENS = "max_sequence_length"
"""What pipelines call the number of a text's tokens."""


class Model:
    """A latent diffusion pipeline, ready to be probed: with a UNet, or of a family of transformers.

    Args:
        pipe: the diffusers pipeline.
        device: where it works.
        name: preset, folder or hub name.
        revision: commit on the hub, or None.
        text_tokens: the most tokens of a language model's text; the pipeline's own by default.

    Raises:
        ModelError: the pipeline has no VAE, its family isn't known, its denoiser takes more than
            the latent of an image, a timestep and a prompt, or a part is in training mode.
    """

    def __init__(
        self,
        pipe: Any,
        device: torch.device,
        name: str,
        revision: str | None = None,
        text_tokens: int | None = None,
    ) -> None:
        self.family = family_of(pipe, name)
        self.text_tokens = text_tokens
        if text_tokens is not None and not self._takes_text_tokens(pipe):
            raise ModelError(f"model {name} ({type(pipe).__name__}) takes no number of text tokens")
        check_at_rest(pipe, name)
        self.pipe, self.device, self.name, self.revision = pipe, device, name, revision
        pipe.set_progress_bar_config(disable=True)
        pipe.to(device)
        if pipe.vae.dtype == torch.float16 and pipe.vae.config.get("force_upcast", False):
            pipe.vae.to(torch.float32)  # SDXL's VAE overflows in float16

    def _takes_text_tokens(self, pipe: Any) -> bool:
        called = self.family is not None and callable(pipe)
        return called and TEXT_TOKENS in inspect.signature(pipe.__call__).parameters

    @property
    def denoiser(self) -> Any:
        """The UNet or transformer."""
        return self.pipe.transformer if self.family else self.pipe.unet

    @property
    def size(self) -> int:
        """Side in pixels of the pictures it was trained on.

        Raises:
            ModelError: its config doesn't say.
        """
        if self.family and self.family.size:
            return self.family.size
        side = getattr(self.pipe, "default_sample_size", None) if self.family else None
        side = side or self.denoiser.config.get("sample_size")
        if not isinstance(side, int):
            raise ModelError(f"model {self.name}: no config says which size of pictures it makes")
        return side * self.pipe.vae_scale_factor

    @property
    def multiple(self) -> int:
        """What a picture's sides must be a multiple of, for every token grid to be whole."""
        if self.family is None:
            levels = len(self.denoiser.config.down_block_types)
            return self.pipe.vae_scale_factor * 2 ** (levels - 1)
        return self.pipe.vae_scale_factor * (self.family.token or self.denoiser.config.patch_size)

    def describe(self) -> dict[str, Any]:
        """What identifies the model in a run's records."""
        return {
            "model": self.name,
            "revision": self.revision,
            "pipeline": type(self.pipe).__name__,
            "parameters": self._parameters,
            "dtype": str(self.denoiser.dtype).removeprefix("torch."),
            "device": str(self.device),
            **({} if self.family is None else told_guidance(self.pipe)),
        }

    @functools.cached_property
    def _parameters(self) -> int:
        return sum(p.numel() for p in self.denoiser.parameters())

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, H, W) in [−1, 1] as latents (B, C, h, w), the mean of the posterior.

        They are shifted and scaled as the VAE's config says, by channel where it does so.

        Raises:
            ModelError: the VAE gives no distribution of latents.
        """
        encode = self.family.encode if self.family else encode_kl
        try:
            latents = encode(self.pipe, pixels.to(self.device, self.pipe.vae.dtype))
        except ModelError as error:
            raise ModelError(f"model {self.name}: {error}") from None
        return latents.to(self.denoiser.dtype)

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
    def denoise(
        self,
        latents: torch.Tensor,
        timestep: int,
        prompt: str = "",
        factors: Mapping[int, float] | None = None,
    ) -> torch.Tensor:
        """One pass of the denoiser on latents (1, C, h, w), without guidance; the prediction.

        Args:
            latents: as `encode` and `add_noise` give them.
            timestep: in thousandths of the noise schedule.
            prompt: text condition.
            factors: of the embeddings at these places of the text, for UNets.

        Raises:
            ModelError: the pipeline refuses the prompt or the size, or is no UNet's and is given
                factors.
        """
        if self.family:
            if factors:
                raise ModelError(
                    f"model {self.name}: embeddings of words are scaled for UNets alone"
                )
            return self._pass_of(self.family, latents, timestep, prompt)
        embeds, pooled = self._encode_prompt(prompt)
        for place, factor in (factors or {}).items():
            embeds[:, place] *= factor
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

    @torch.no_grad()
    def places(self, prompt: str, words: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        """Where words' tokens lie in the text that the denoiser is handed with a prompt.

        Raises:
            CaptureError: a word isn't in the prompt or is cut off, or its place isn't known.
        """
        if self.family is None:
            return TokenMaps.of(self.pipe, prompt, words).tokens
        family, latents = self.family, self.encode(torch.zeros(1, 3, self.multiple, self.multiple))

        def one_pass(pipe: Any, text: str) -> None:
            self._call(pipe, family, latents, 0, text)

        return word_places(self.pipe, one_pass, prompt, words)

    def _pass_of(
        self, family: Family, latents: torch.Tensor, timestep: int, prompt: str
    ) -> torch.Tensor:
        try:
            return self._call(self.pipe, family, latents, timestep, prompt)
        except ValueError as error:
            raise ModelError(f"model {self.name}: its pipeline refuses a pass: {error}") from error

    def _call(
        self, pipe: Any, family: Family, latents: torch.Tensor, timestep: int, prompt: str
    ) -> torch.Tensor:
        batch, channels, height, width = latents.shape
        side = self.pipe.vae_scale_factor * family.latent
        sizes = {"height": height * side, "width": width * side}
        if family.packed:
            latents = pipe._pack_latents(latents, batch, channels, height, width)
        text = {} if self.text_tokens is None else {TEXT_TOKENS: self.text_tokens}
        return one_pass(pipe, latents, timestep, prompt, **sizes, **text, **family.call)

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
