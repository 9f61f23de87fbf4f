"""Which attention layers a denoiser has, and which of them are wanted."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic.json_schema import SkipJsonSchema

from attnprobe.errors import CaptureError
from attnprobe.registry import checked, did_you_mean

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")

Kind = Literal["self", "cross", "joint", "temporal"]
Block = Literal["down", "mid", "up", "single", "double"]


@dataclass(frozen=True)
class Layer:
    """One attention layer of a denoiser.

    Args:
        name: its dotted name inside the denoiser.
        kind: ``self`` if queries and keys are the same tokens (the image's, or in a refiner the
            text's), ``cross`` if keys are another sequence, such as the prompt's, ``joint`` if the
            keys hold image and text, ``temporal`` if they are one place's frames.
        heads: number of query heads; 0 if the module doesn't say.
        block: the part of the network, where it has such parts.
        index: its place among the model's attention layers, in the order in which they compute.
        mute: why no map can be had of it (linear attention), or empty.
    """

    name: str
    kind: Kind
    heads: int
    block: Block | None = None
    index: int = 0
    mute: str = ""


@checked
@dataclass(frozen=True)
class Layers:
    """A selection of attention layers: those that pass every condition given.

    Args:
        kind: ``self``, ``cross``, ``joint``, ``temporal``, or all (None).
        names: shell patterns of layer names, such as ``up_blocks.*``, or regular expressions after
            ``re:``; one must fit. None given means all.
        block: ``down``, ``mid``, ``up``, ``single``, ``double``, or all (None).
        grid: (height, width) of the queries' tokens, known once the model runs.
        index: places among the model's attention layers in the order in which they compute;
            negative ones count from the end, so −1 is the last.
        where: any condition on a `Layer` besides, in Python.
    """

    kind: Kind | None = None
    names: str | tuple[str, ...] = ()
    block: Block | None = None
    grid: tuple[int, int] | None = None
    index: int | tuple[int, ...] = ()
    where: Annotated[Callable[[Layer], bool] | None, SkipJsonSchema()] = None

    def select(self, layers: list[Layer]) -> list[Layer]:
        """Those of the layers that are wanted, as they compute; `grid` is left for later.

        Raises:
            CaptureError: a pattern fits no layer, an index is too large, or nothing is left.
        """
        for pattern in _each(self.names):
            if not any(_fits(layer.name, pattern) for layer in layers):
                known = [layer.name for layer in layers]
                raise CaptureError(f"no layer is called {pattern!r}{did_you_mean(pattern, known)}")
        count = len(layers)
        for index in _each(self.index):
            if not -count <= index < count:
                raise CaptureError(
                    f"Layers.index: the model has {count} attention layers, so an index must be "
                    f"{-count} to {count - 1}. Got {index} instead."
                )
        chosen = [layer for layer in layers if self._wants(layer, count)]
        if not chosen:
            kinds = sorted({layer.kind for layer in layers})
            raise CaptureError(
                f"{self.said()} selects none of the model's {count} attention layers "
                f"(their kinds: {', '.join(kinds)})"
            )
        return chosen

    def wants_grid(self, grid: tuple[int, int, int] | None) -> bool:
        """Whether queries on that grid (frames, height, width) are wanted."""
        return self.grid is None or (grid is not None and grid[1:] == self.grid)

    def said(self) -> str:
        """The selection with the conditions given only."""
        given = {key: value for key, value in vars(self).items() if value not in (None, ())}
        return f"Layers({', '.join(f'{key}={value!r}' for key, value in given.items())})"

    def _wants(self, layer: Layer, count: int) -> bool:
        return (
            self.kind in (None, layer.kind)
            and self.block in (None, layer.block)
            and (self.names == () or any(_fits(layer.name, p) for p in _each(self.names)))
            and (self.index == () or layer.index in {i % count for i in _each(self.index)})
            and (self.where is None or bool(self.where(layer)))
        )


def _each(given: T | tuple[T, ...]) -> tuple[T, ...]:
    return given if isinstance(given, tuple) else (given,)


def _fits(name: str, pattern: str) -> bool:
    if not pattern.startswith("re:"):
        return fnmatch.fnmatchcase(name, pattern)
    try:
        return re.search(pattern.removeprefix("re:"), name) is not None
    except re.error as error:
        raise CaptureError(f"{pattern!r} is no regular expression: {error}") from None


def attention_classes() -> tuple[type, ...]:
    """The classes of diffusers' attention layers."""
    from diffusers.models.attention import AttentionModuleMixin
    from diffusers.models.attention_processor import Attention, MochiAttention

    return Attention, MochiAttention, AttentionModuleMixin


def attention_layers(model: nn.Module, classes: tuple[type, ...] = ()) -> list[Layer]:
    """All attention layers of a denoiser, in the order in which they compute.

    Args:
        model: the denoiser, also inside a wrapper such as DDP's or PEFT's.
        classes: attention classes of its own besides diffusers' ``Attention``,
            ``MochiAttention`` and ``AttentionModuleMixin``.

    Raises:
        CaptureError: the model has none.
    """
    from attnprobe.hooks.families import block_of, kind_of
    from attnprobe.hooks.order import in_order
    from attnprobe.hooks.wrappers import plain_name, unwrapped

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
