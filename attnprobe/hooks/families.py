"""What is particular to families of denoisers: kinds and blocks of layers, the order of tokens.

Everything is read off the model's class and config and the arguments of its ``forward``. A class
that no rule knows still has its calls seen; what can't be told of its tokens is left open.
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from attnprobe.hooks.call import Batching
from attnprobe.hooks.layers import Block, Kind
from attnprobe.hooks.wrappers import family

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
    for pattern, block in _BLOCKS:
        if re.search(pattern, name):
            return block
    cls = family(model)
    if cls.startswith("SD3"):
        return "double"
    if kind != "joint" or cls.startswith("PRX"):
        return None
    added = ("add_q_proj", "add_k_proj", "to_added_qkv")
    return "double" if any(getattr(module, part, None) is not None for part in added) else "single"


_BLOCKS: tuple[tuple[str, Any], ...] = (
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
