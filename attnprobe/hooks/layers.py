"""Which attention layers a denoiser has, and which of them are wanted."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from attnprobe.errors import CaptureError, did_you_mean
from attnprobe.registry import checked

T = TypeVar("T")

Kind = Literal["self", "cross", "joint", "temporal"]
Block = Literal["down", "mid", "up", "single", "double"]

Batching = Literal["rows", "frames", "items", "leading"]
"""How rows of a layer's batch come of the model's: the same ones, each item's frames one after the
other, one item a call, or the first of them."""

Head = Annotated[int, Ge(0), Le(9999)]

HeadWeights = Annotated[
    dict[Head, Annotated[float, Gt(0), Le(1e6)]],
    MinLen(1),
    # A mapping's keys are text to JSON, so that the bounds of a whole number don't hold there.
    WithJsonSchema(
        {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^(0|[1-9][0-9]{0,3})$"},
            "additionalProperties": {"type": "number", "exclusiveMinimum": 0, "maximum": 1e6},
        }
    ),
]
"""Numbers of heads, and how much each counts in a mean over them."""


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
        heads: which of their heads are kept, from 0, or how much each counts in means over heads,
            such as ``{1: 0.7, 5: 0.3}``; all alike by default.
        top_heads: how many heads: those whose chain has the largest second eigenvalue at a layer's
            first call, see `attnprobe.hooks.heads.second_eigenvalues`.
        where: any condition on a `Layer` besides, in Python.

    Examples:
        >>> from attnprobe.hooks import attention_layers
        >>> wanted = ap.Layers(kind="self", names=("mid_block.*", "up_blocks.0.*"))
        >>> [layer.index for layer in wanted.select(attention_layers(pipe.unet))]
        [6, 8, 10]
    """

    kind: Kind | None = None
    names: str | tuple[str, ...] = ()
    block: Block | None = None
    grid: tuple[int, int] | None = None
    index: int | tuple[int, ...] = ()
    heads: Head | tuple[Head, ...] | HeadWeights = ()
    top_heads: Annotated[int, Ge(1)] | None = None
    where: Annotated[Callable[[Layer], bool] | None, SkipJsonSchema()] = None

    def __post_init__(self) -> None:
        if self.heads != () and self.top_heads is not None:
            raise CaptureError(
                "Layers: heads says which heads, top_heads how many; give one of them"
            )
        if isinstance(self.heads, tuple) and len(set(self.heads)) < len(self.heads):
            raise CaptureError(f"Layers.heads: a head is given twice. Got {self.heads} instead.")

    @property
    def chooses_heads(self) -> bool:
        """Whether it wants some heads alone, or some more than others."""
        return self.heads != () or self.top_heads is not None

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
                f"{self.describe()} selects none of the model's {count} attention layers "
                f"(their kinds: {', '.join(kinds)})"
            )
        return chosen

    def wants_grid(self, grid: tuple[int, int, int] | None) -> bool:
        """Whether queries on that grid (frames, height, width) are wanted."""
        return self.grid is None or (grid is not None and grid[1:] == self.grid)

    def describe(self) -> str:
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


def layers_of_text(layers: list[Layer]) -> Layers:
    """The layers in which an image looks at a text: of kind cross, or joint where none is.

    Raises:
        CaptureError: the model has neither.
    """
    kinds = sorted({layer.kind for layer in layers})
    if "cross" in kinds or "joint" in kinds:
        return Layers(kind="cross" if "cross" in kinds else "joint")
    raise CaptureError(
        "the model has no cross- or joint-attention, so that it looks at no words (kinds of its "
        f"layers: {', '.join(kinds)})"
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
