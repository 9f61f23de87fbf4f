"""Whether a denoiser takes what a probe has: an image's latent, a timestep and a prompt."""

from __future__ import annotations

from typing import Any

from torch import nn

from attnprobe.errors import ModelError
from attnprobe.models.families import FAMILIES, Family


def family_of(pipe: Any, name: str) -> Family | None:
    """The family of a pipeline with a transformer; None for those with a UNet.

    Refused are denoisers that want more than an image's latent, a timestep and a prompt, or
    something else. Such are models for inpainting (9 channels: latent, mask, masked latent),
    editing by words and depth (8 and 5), upscaling (7), and those that are told a picture, a class
    or a score besides.

    Raises:
        ModelError: what it is, and what it wants.
    """
    family, kind = FAMILIES.get(type(pipe).__name__), type(pipe).__name__
    if family is not None:
        return family
    if getattr(pipe, "unet", None) is None:
        raise ModelError(
            f"model {name} ({kind}) can't be probed: its family isn't known here; known are "
            f"pipelines with a UNet, and {', '.join(sorted(FAMILIES))}"
        )
    if getattr(pipe, "vae", None) is None:
        raise ModelError(f"model {name} ({kind}) has no vae, which makes an image's latent")
    why = _other_denoiser(pipe.unet) or _other_latents(pipe) or _other_conditions(pipe)
    if why:
        raise ModelError(
            f"model {name} ({kind}) can't be probed: {why}; a probe shows a denoiser the latent of "
            "an image, a timestep and a prompt"
        )
    return None


def check_at_rest(pipe: Any, name: str) -> None:
    """Refuse parts whose dropout makes each pass another, as in training.

    Raises:
        ModelError: which part.
    """
    for part, module in pipe.components.items():
        if isinstance(module, nn.Module) and any(map(_drops, module.modules())):
            raise ModelError(
                f"model {name}: its {part} is in training mode, in which dropout makes each pass "
                f"another; call {part}.eval() first"
            )


def _drops(module: nn.Module) -> bool:
    return isinstance(module, nn.Dropout) and module.training and module.p > 0


def _other_denoiser(unet: Any) -> str:
    from diffusers import UNet2DConditionModel

    # Among its modules, for it may be wrapped.
    if any(isinstance(module, UNet2DConditionModel) for module in unet.modules()):
        return ""
    return f"its denoiser is a {type(unet).__name__}, and no UNet2DConditionModel"


def _other_latents(pipe: Any) -> str:
    pictures = pipe.vae.config.get("in_channels", 3)
    if pictures != 3:
        return f"its VAE takes pictures of {pictures} channels, not of 3"
    latents, wanted = pipe.vae.config.get("latent_channels"), pipe.unet.config.in_channels
    if latents != wanted:
        return f"its UNet takes {wanted} channels, and the latents of its VAE have {latents}"
    return ""


def _other_conditions(pipe: Any) -> str:
    if not hasattr(pipe, "encode_prompt"):
        return "it takes no prompt"
    config = pipe.unet.config
    if config.get("class_embed_type") or config.get("num_class_embeds"):
        return "its UNet is told a class or a level of noise besides"
    if config.get("encoder_hid_dim_type") not in (None, "text_proj"):
        return f"its UNet is told a picture besides ({config.encoder_hid_dim_type})"
    kind = config.get("addition_embed_type")
    if kind not in (None, "text", "text_time"):
        return f"its UNet is told a picture besides ({kind})"
    if kind == "text_time":
        encoder = getattr(pipe, "text_encoder_2", None) or pipe.text_encoder
        pooled = getattr(encoder.config, "projection_dim", encoder.config.hidden_size)
        numbers, width = config.projection_class_embeddings_input_dim - pooled, 6
        if numbers != width * config.addition_time_embed_dim:
            told = numbers / config.addition_time_embed_dim
            return f"its UNet is told {told:g} numbers besides, not the {width} of sizes and a crop"
    return ""
