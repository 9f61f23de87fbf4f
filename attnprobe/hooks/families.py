"""Which module is the denoiser, and what is particular to its family: layers, the order of tokens.

Everything is read off the model's class and config and the arguments of its ``forward``. A class
that no rule knows still has its calls seen; what can't be told of its tokens is left open.
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from attnprobe.errors import CaptureError
from attnprobe.hooks.layers import Batching, Block, Kind

_INNER = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Under which names torch.compile, FSDP and activation checkpointing hold what they wrap."""


_BLOCKS = ("DualTransformer2DModel", "Transformer2DModel", "TransformerTemporalModel")
"""Blocks that diffusers saves as it saves models; denoisers are made of them."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The denoiser inside a wrapper: torch.compile's, DDP's, FSDP's, PEFT's, or somebody's own.

    A module that holds one model of diffusers, and all its attention layers in it, is a wrapper of
    that model. What hides nothing is the denoiser itself.

    Raises:
        CaptureError: the wrapper holds several models, or runs copies of its model.
    """
    while _class_of_diffusers(model) is None:
        if isinstance(model, nn.DataParallel) and len(model.device_ids) > 1:
            raise CaptureError(
                "DataParallel runs a copy of the model on each device, in threads of their own, "
                "which hooks don't see; capture its .module on one device"
            )
        inner = _inner(model)
        if inner is None:
            break
        model = inner
    return model


def _class_of_diffusers(model: Any) -> type | None:
    """The nearest class of diffusers that a model is of; mixins are of no model."""
    for cls in type(model).__mro__:
        if cls.__module__.partition(".")[0] == "diffusers" and not cls.__name__.endswith("Mixin"):
            return cls
    return None


def _inner(model: nn.Module) -> nn.Module | None:
    """What a wrapper wraps; None if it is none."""
    for name, child in model.named_children():
        if name in _INNER:
            return child
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return model.module
    held = {name: child for name, child in _outermost(model) if _attention(child)}
    inside = sum(len(_attention(child)) for child in held.values())
    if not held or inside < len(_attention(model)):  # layers of its own: it is no mere wrapper
        return None
    if len(held) > 1:
        said = ", ".join(f"{name} ({type(child).__name__})" for name, child in held.items())
        raise CaptureError(
            f"{type(model).__name__} holds {len(held)} models with attention layers: {said}; "
            "capture one of them"
        )
    return next(iter(held.values()))


def _outermost(model: nn.Module, name: str = "") -> list[tuple[str, nn.Module]]:
    """Models of diffusers that lie in no other, with their names; blocks are no models."""
    from diffusers import ModelMixin

    found = []
    for key, child in model.named_children():
        path = f"{name}.{key}" if name else key
        cls = _class_of_diffusers(child)
        whole = isinstance(child, ModelMixin) and cls is not None and cls.__name__ not in _BLOCKS
        found += [(path, child)] if whole else _outermost(child, path)
    return found


def _attention(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, attention_classes())]


def attention_classes() -> tuple[type, ...]:
    """The classes of diffusers' attention layers."""
    from diffusers.models.attention import AttentionModuleMixin
    from diffusers.models.attention_processor import Attention, MochiAttention

    return Attention, MochiAttention, AttentionModuleMixin


def plain_name(name: str) -> str:
    """A module's dotted name without the wrappers around its parts; it finds the module too."""
    return ".".join(part for part in name.split(".") if part not in _INNER)


def module_named(model: nn.Module, name: str) -> nn.Module:
    """The module of that plain name itself, past what is wrapped around it.

    A wrapper shows the attributes of what it wraps, but takes new ones for itself.
    """
    module = model.get_submodule(name)
    while inner := [child for key, child in module.named_children() if key in _INNER]:
        module = inner[0]
    return module


def family(model: Any) -> str:
    """The name of the class of diffusers that a model is of.

    A subclass (of a user's, or made on the fly by FSDP or a parametrisation) is of its parent's
    family.
    """
    return (_class_of_diffusers(model) or type(model)).__name__


TEMPORAL = re.compile(
    r"(^|\.)(motion_modules|temp_attentions|transformer_in|temporal_transformer_blocks)\."
)
"""Layers that attend over frames, or lie in a block that does."""

_FRAMES_ONLY = re.compile(r"(^|\.)(motion_modules|temp_attentions|transformer_in)\.")
"""Temporal modules whose second attention, too, is told of nothing but the frames."""

_CROSS_NAME = re.compile(r"(attn2|cross_att\w*|_to_\w+_attn)$")
"""How cross-attention is called where the module doesn't say."""

_JOINT = re.compile(
    r"^(AuraFlow|Bria|Chroma|CogVideoX|CogView|ConsisID|EasyAnimate|Flux|HiDream|Hunyuan(Video|Image)"
    r"|LongCatImage|Lumina2|Mochi|OmniGen|OvisImage|PRX|QwenImage|SD3|ZImage)"
)
"""Classes whose blocks attend over image and text at once, cross-attention and refiners apart."""

IMAGE_FIRST = re.compile(r"^(HiDream|Hunyuan(Video|Image)|Mochi|SD3|ZImage)")
"""Classes whose joint sequences begin with the image; in the others the text comes first."""


def kind_of(model: nn.Module, name: str, module: Any) -> Kind:
    """The kind of an attention layer, from its class, its module and its place."""
    cls = family(model)
    if _JOINT.match(cls):
        alone = "refiner" in name or (cls.startswith("SD3") and name.endswith("attn2"))
        return "self" if alone else "joint"
    if _is_added(module):
        return "joint"
    if cls == "Kandinsky3UNet":  # whose every layer is told that its keys are another's
        return "self" if name.endswith("attentions.0.attention") else "cross"
    if _crosses(name, module):
        return "temporal" if _FRAMES_ONLY.search(name) else "cross"
    return "temporal" if TEMPORAL.search(name) else "self"


def _crosses(name: str, module: Any) -> bool:
    told = getattr(module, "is_cross_attention", None)
    return told if told is not None else bool(_CROSS_NAME.search(name))


def _is_added(module: Any) -> bool:
    """Whether its keys are another sequence's before its own (diffusers' added keys, values)."""
    from diffusers.models.attention_processor import Attention

    return (
        isinstance(module, Attention)
        and module.added_kv_proj_dim is not None
        and not module.only_cross_attention
    )


def block_of(model: nn.Module, name: str, module: Any, kind: Kind) -> Block | None:
    """The part of the network that a layer is in."""
    for pattern, block in _BY_PLACE:
        if re.search(pattern, name):
            return block
    cls = family(model)
    if cls.startswith("SD3"):
        return "double"
    if kind != "joint" or cls.startswith("PRX"):
        return None
    added = ("add_q_proj", "add_k_proj", "to_added_qkv")
    return "double" if any(getattr(module, part, None) is not None for part in added) else "single"


_BY_PLACE: tuple[tuple[str, Any], ...] = (
    (r"^(down_blocks|controlnet_down_blocks)\.", "down"),
    (r"^mid_block\.", "mid"),
    (r"^up_blocks\.", "up"),
    (r"(^|\.)single_", "single"),
    (r"(^|\.)(joint_|double_)", "double"),
)


_BY_FRAME = re.compile(r"^(I2VGenXL|Latte|SparseControlNet|UNet3D|UNetMotion|UNetSpatioTemporal)")
"""Classes whose layers have a video's frames, or its places, as rows of their batch."""


def batching(model: nn.Module, module: Any) -> Batching:
    """How rows of a layer's batch come of the model's.

    Processors of perturbed-attention guidance let the perturbed rows, the last, not attend.
    """
    if type(getattr(module, "processor", None)).__name__.startswith("PAG"):
        return "leading"
    cls = family(model)
    if cls.startswith("Mochi"):
        return "items"
    return "frames" if _BY_FRAME.match(cls) else "rows"
