"""Finding the attention layers of a denoiser, in the order in which they compute.

UNets register their middle block last and run it between down and up; lists of modules that a
block goes through side by side (attention and motion, say) stand one after the other in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from attnprobe.errors import CaptureError
from attnprobe.hooks.families import (
    attention_classes,
    block_of,
    family,
    kind_of,
    plain_name,
    unwrapped,
)
from attnprobe.hooks.layers import Layer


def attention_layers(model: nn.Module, classes: tuple[type, ...] = ()) -> list[Layer]:
    """All attention layers of a denoiser, in the order in which they compute.

    Args:
        model: the denoiser, also inside a wrapper such as DDP's or PEFT's.
        classes: attention classes of its own besides diffusers' ``Attention``,
            ``MochiAttention`` and ``AttentionModuleMixin``.

    Raises:
        CaptureError: the model has none.
    """
    model = unwrapped(model)
    known = (*attention_classes(), *classes)
    found = {
        plain_name(name): module
        for name, module in model.named_modules()
        if isinstance(module, known)
    }
    if not found:
        raise CaptureError(
            f"{type(model).__name__} has no attention layer known: none of its modules is of "
            f"{', '.join(sorted(c.__name__ for c in known))}"
        )
    layers = []
    for index, name in enumerate(in_order(model, found)):
        module = found[name]
        kind = kind_of(model, name, module)
        block = block_of(model, name, module, kind)
        layers.append(Layer(name, kind, _heads(module), block, index, _mute(module)))
    return layers


def _heads(module: Any) -> int:
    for name in ("heads", "num_heads", "n_heads", "num_attention_heads"):
        value = getattr(module, name, None)
        if isinstance(value, int):
            return value
    return 0


def _mute(module: Any) -> str:
    processor = type(getattr(module, "processor", None)).__name__
    return f"linear attention has no map ({processor})" if "Linear" in processor else ""


_PARTS = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
"""Parts of a UNet in the order in which they run."""

_SIDE_BY_SIDE = re.compile(
    r"attentions|temp_attentions|motion_modules|base_attentions|ctrl_attentions"
    r"|transformer_blocks|temporal_transformer_blocks"
)
"""Lists that a block goes through together: the first of each, then the second of each."""

_EARLIER = {
    ("Lumina2", "context_refiner"): "noise_refiner",
    ("WanVACE", "vace_blocks"): "blocks",
    ("", "fuser"): "attn2",
}
"""(Beginning of a class's name, list) -> the sibling that it runs before."""

_FIRST_IS_LAST = {("Kandinsky3", "up_blocks"): "attentions"}
"""(Beginning of a class's name, list of blocks) -> the list in each whose first runs last."""

Place = tuple[float, float, float]
"""Of a module its rank among its siblings, its number in its list, the rank of that list."""


def in_order(model: nn.Module, names: Iterable[str]) -> list[str]:
    """The names of a model's modules in the order in which these compute."""
    order = _Order(model)
    return sorted(names, key=order.key)


class _Order:
    """Ranks of a model's modules."""

    def __init__(self, model: nn.Module) -> None:
        self._cls = family(model)
        self._registered: dict[str, int] = {}
        for rank, (name, _) in enumerate(model.named_modules()):
            self._registered.setdefault(plain_name(name), rank)
        self._together: dict[str, int] = {}
        for name, rank in self._registered.items():
            parent, _, part = name.rpartition(".")
            if _SIDE_BY_SIDE.fullmatch(part):
                self._together.setdefault(parent, rank)

    def key(self, name: str) -> list[Place]:
        """The places of a name's parts; of a list and a number in it one."""
        parts = name.split(".")
        key: list[Place] = []
        for depth, part in enumerate(parts):
            if part.isdigit() and depth:
                continue
            parent = ".".join(parts[:depth])
            number = parts[depth + 1] if depth + 1 < len(parts) else ""
            place = float(number) if number.isdigit() else 0.0
            if place == 0 and self._rule(_FIRST_IS_LAST, parts[0]) == part:
                place = math.inf
            own = self._registered[f"{parent}.{part}" if parent else part]
            key.append((self._rank(parent, part, own), place, own))
        return key

    def _rank(self, parent: str, part: str, own: int) -> float:
        """Where a module runs among its siblings; those that run side by side are at one place."""
        if not parent and part in _PARTS:
            known = [self._registered[other] for other in _PARTS if other in self._registered]
            return min(known) + _PARTS[part] / 4
        sibling = self._rule(_EARLIER, part)
        later = self._registered.get(f"{parent}.{sibling}" if parent else str(sibling))
        if later is not None:
            return later - 0.5
        return self._together[parent] if _SIDE_BY_SIDE.fullmatch(part) else own

    def _rule(self, rules: dict[tuple[str, str], str], part: str) -> str | None:
        for (cls, own), other in rules.items():
            if own == part and self._cls.startswith(cls):
                return other
        return None
