"""A denoiser without its weights, built from its config on the meta device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attnprobe.errors import ModelError
from attnprobe.files import read_text
from attnprobe.models.hub import locate
from attnprobe.models.presets import PRESETS

LARGEST_CONFIG = 1 << 24
"""Bytes of a config."""

PARTS = ("unet", "transformer")
"""What the denoiser is called in a pipeline."""


def skeleton(model: str) -> Any:
    """The denoiser of a model, with shapes and no weights; nothing but configs is downloaded.

    Args:
        model: a preset, a pipeline's folder or hub name, or a folder with a denoiser's config.

    Raises:
        ModelError: there is no such model, or none of its parts is a denoiser of diffusers.
    """
    import diffusers
    import torch

    config = _config(model)
    name = config.get("_class_name", "")
    cls: Any = getattr(diffusers, name, None) if isinstance(name, str) else None
    if cls is None or not issubclass(cls, torch.nn.Module):
        raise ModelError(f"model {model}: diffusers has no denoiser of the class {name!r}")
    try:
        with torch.device("meta"):
            return cls.from_config(config).eval()
    except Exception as error:  # a config of another form has faults of every kind
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"model {model}: its config doesn't make a {name}: {reason}") from None


def example_inputs(
    denoiser: Any, side: int | None = None, text_tokens: int | None = None
) -> dict[str, Any] | None:
    """Arguments for one pass, without numbers; None for a denoiser whose arguments aren't known.

    Known are UNets, PixArt, Stable Diffusion 3 and Flux.1.

    Args:
        denoiser: on any device.
        side: of the square of latents, before they are packed; the denoiser's own by default.
        text_tokens: of the language model's text; by default those of the pipelines.

    Raises:
        ModelError: its config says sizes that no tensor has.
    """
    import torch

    make = _INPUTS.get(type(denoiser).__name__)
    if make is None:
        return None
    try:
        with torch.device("meta"):
            return make(denoiser.config, side, text_tokens)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"{type(denoiser).__name__}: no pass can be made by its config: {error}"
        ) from None


def own_side(denoiser: Any) -> int | None:
    """Side of the square of latents that a denoiser was trained on; None where that isn't said."""
    if type(denoiser).__name__ == "FluxTransformer2DModel":
        return FLUX_SIDE
    side = denoiser.config.get("sample_size")
    return side if isinstance(side, int) else None


FLUX_SIDE = 128
"""`default_sample_size` of Flux's pipelines; its denoiser's config says none."""


def _of_unet(config: Any, side: int | None, text_tokens: int | None) -> dict[str, Any]:
    import torch

    size = side or config.sample_size or 64
    height, width = (size, size) if isinstance(size, int) else size
    inputs: dict[str, Any] = {
        "sample": torch.empty(1, config.in_channels, height, width),
        "timestep": torch.empty((), dtype=torch.int64),
    }
    if "cross_attention_dim" in config:
        width = config.get("encoder_hid_dim") or config.cross_attention_dim
        inputs["encoder_hidden_states"] = torch.empty(1, 77, width)
    if config.get("addition_embed_type") == "text_time":
        times = 6 * config.addition_time_embed_dim
        pooled = config.projection_class_embeddings_input_dim - times
        inputs["added_cond_kwargs"] = {
            "text_embeds": torch.empty(1, pooled),
            "time_ids": torch.empty(1, 6),
        }
    return inputs


def _of_sd3(config: Any, side: int | None, text_tokens: int | None) -> dict[str, Any]:
    import torch

    side, text = side or config.sample_size, 77 + (text_tokens or 256)
    return {
        "hidden_states": torch.empty(1, config.in_channels, side, side),
        "timestep": torch.empty(1),
        "encoder_hidden_states": torch.empty(1, text, config.joint_attention_dim),
        "pooled_projections": torch.empty(1, config.pooled_projection_dim),
    }


def _of_flux(config: Any, side: int | None, text_tokens: int | None) -> dict[str, Any]:
    import torch

    side, text = (side or FLUX_SIDE) // 2, text_tokens or 512
    inputs = {
        "hidden_states": torch.empty(1, side * side, config.in_channels),
        "timestep": torch.empty(1),
        "encoder_hidden_states": torch.empty(1, text, config.joint_attention_dim),
        "pooled_projections": torch.empty(1, config.pooled_projection_dim),
        "img_ids": torch.empty(side * side, 3),
        "txt_ids": torch.empty(text, 3),
    }
    return inputs | ({"guidance": torch.empty(1)} if config.guidance_embeds else {})


def _of_pixart(config: Any, side: int | None, text_tokens: int | None) -> dict[str, Any]:
    import torch

    side = side or config.sample_size
    return {
        "hidden_states": torch.empty(1, config.in_channels, side, side),
        "timestep": torch.empty(1),
        "encoder_hidden_states": torch.empty(1, text_tokens or 300, config.caption_channels),
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }


_INPUTS = {
    "UNet2DConditionModel": _of_unet,
    "UNet2DModel": _of_unet,
    "SD3Transformer2DModel": _of_sd3,
    "FluxTransformer2DModel": _of_flux,
    "PixArtTransformer2DModel": _of_pixart,
}
"""Class of the denoiser -> its arguments."""


def _config(model: str) -> dict[str, Any]:
    preset = PRESETS.get(model)
    if preset is not None and preset.architecture is not None:
        return json.loads(preset.architecture.read_text(encoding="utf-8"))
    repo = preset.repo if preset is not None else model
    bare = Path(repo).expanduser() / "config.json"
    if bare.is_file():
        return _read(bare)
    source = locate(repo)
    if source.revision is None and Path(source.repo).is_dir():
        files = [Path(source.repo) / part / "config.json" for part in PARTS]
        found = next((file for file in files if file.is_file()), None)
        if found is None:
            raise ModelError(f"model {model}: it has neither a unet nor a transformer")
        return _read(found)
    return _from_hub(model, source)


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(read_text(path, LARGEST_CONFIG))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} can't be read as a config: {error}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} is no config: a mapping is needed")
    return config


def _from_hub(model: str, source: Any) -> dict[str, Any]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for part in PARTS:
        try:
            file = hf_hub_download(
                source.repo,
                "config.json",
                subfolder=part,
                revision=source.revision,
                local_files_only=source.local_only,
            )
        except (EntryNotFoundError, OSError):
            continue
        return _read(Path(file))
    raise ModelError(f"model {model}: it has neither a unet nor a transformer")
