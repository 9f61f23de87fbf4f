"""What is particular to families of denoisers: kinds of layers, order of tokens.

Everything is read off the model's class and config and the arguments of its ``forward``. A class
that no rule knows still has its calls seen; what can't be told of its tokens is left open.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from attnprobe.hooks.tokens import Tokens
from attnprobe.hooks.wrappers import family

if TYPE_CHECKING:
    from torch import nn

    from attnprobe.hooks.call import Batching
    from attnprobe.hooks.layers import Block, Kind, Layer

_TEMPORAL = re.compile(
    r"(^|\.)(motion_modules|temp_attentions|transformer_in|temporal_transformer_blocks)\."
)

_FRAMES_ONLY = re.compile(r"(^|\.)(motion_modules|temp_attentions|transformer_in)\.")
"""Temporal modules whose second attention, too, is told of nothing but the frames."""

_CROSS_NAME = re.compile(r"(attn2|cross_att\w*|_to_\w+_attn)$")
"""How cross-attention is called where the module doesn't say."""

_OF_TEXT = re.compile(r"context|text|caption")
"""Layers that the text goes through by itself."""

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
    return "temporal" if _TEMPORAL.search(name) else "self"


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


@dataclass(frozen=True, eq=False)
class Seen:
    """What is seen of one call, besides which layer's it is.

    Args:
        index: the how manieth of the layer in the pass.
        queries: how many there are.
        keys: how many there are.
        size: height and width of the features that the queries were made of, or None.
        adapter: whether the layer's later calls are an image adapter's, as its processor says.
        text: looks among the keys for the tokens of the text, by their values.
    """

    index: int
    queries: int
    keys: int
    size: tuple[int, int] | None = None
    adapter: bool = False
    text: Callable[[], Tokens] = Tokens


@dataclass(frozen=True)
class Layout:
    """What the sequences of one pass are; calls are matched with them by length.

    Args:
        image: the image's tokens alone.
        joint: image and text in one sequence, and other such mixtures.
        others: the text's, and what else keys may be, in the order of a layer's calls.
        halves: whether layers lie on grids of many sizes, as in a UNet, so that each layer's is
            that of the features it was made of.
    """

    image: Tokens = field(default_factory=Tokens)
    joint: tuple[Tokens, ...] = ()
    others: tuple[Tokens, ...] = ()
    halves: bool = False

    def tokens(self, layer: Layer, seen: Seen) -> tuple[Tokens, Tokens]:
        """Queries and keys of a layer's call, as far as they are known."""
        if _TEMPORAL.search(layer.name):
            cut = Tokens.runs(("image", seen.queries), grid=(seen.queries, 1, 1))
            return cut, cut if layer.kind == "temporal" else self._other(seen)
        if layer.kind == "cross":
            return self._queries(layer, seen), self._other(seen)
        if layer.kind == "joint":
            first = self._match((*self.joint, self._image(seen), *self.others), seen.queries)
            if seen.keys == seen.queries:
                return first, first
            return first, self._added(first, seen.queries, seen.keys)
        own = self._match(self._own(layer, seen), seen.queries)
        return own, own if seen.keys == seen.queries else Tokens()

    def _queries(self, layer: Layer, seen: Seen) -> Tokens:
        if self.halves and layer.block is None:  # the time's own look at the text
            return Tokens.runs(("pooled", seen.queries))
        return self._match(self._own(layer, seen), seen.queries)

    def _own(self, layer: Layer, seen: Seen) -> tuple[Tokens, ...]:
        """What a layer's queries may be, where they are no mixture made by the layer."""
        if _OF_TEXT.search(layer.name):
            return self.others
        return (self._image(seen), *self.joint)

    def _image(self, seen: Seen) -> Tokens:
        if not self.halves:
            return self.image
        if seen.size is None or math.prod(seen.size) != seen.queries:
            return Tokens()
        return Tokens.runs(("image", seen.queries), grid=(1, *seen.size))

    def _match(self, candidates: tuple[Tokens, ...], count: int) -> Tokens:
        return next((tokens for tokens in candidates if tokens.count == count), Tokens())

    def _other(self, seen: Seen) -> Tokens:
        if seen.index > 0 and seen.adapter:
            return Tokens.runs(("reference", seen.keys))
        fitting = [tokens for tokens in self.others if tokens.count == seen.keys]
        if fitting and (seen.index == 0 or not self.halves):
            return fitting[min(seen.index, len(fitting) - 1)]
        return seen.text() if self.halves else Tokens()

    def _added(self, first: Tokens, queries: int, keys: int) -> Tokens:
        """Keys of more than the queries: a mixture known, or text put before the image."""
        known = self._match(self.joint, keys)
        if known.known or not self.halves:
            return known
        text = sum(tokens.count for tokens in self.others)
        more = keys - queries - text
        if not first.known or more < 0:  # merged, or of fewer places than the queries
            return Tokens()
        runs = [("reference", more), ("text", text), ("image", queries)]
        return Tokens.runs(*runs, grid=first.grid)


def read_layout(model: nn.Module, given: dict[str, Any]) -> Layout:
    """The sequences of a pass, from the arguments of the denoiser's ``forward`` by name."""
    from attnprobe.hooks import layouts

    cls = family(model)
    for pattern, read in layouts.READERS:
        if re.match(pattern, cls):
            return read(model, given) or Layout()
    return layouts.any_transformer(model, given) or Layout()
