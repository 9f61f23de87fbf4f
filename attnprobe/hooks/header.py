"""What a saved capture says of itself: its records as JSON, checked word by word when read back.

A file may come from anywhere, so nothing in it is believed: recorders are looked up in a table,
types and ranges are checked as they are read, and so is that the parts fit together.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, MinLen
from pydantic import TypeAdapter, ValidationError

from attnprobe.hooks import recorders
from attnprobe.hooks.layers import Layer
from attnprobe.hooks.layout import Span, Tokens
from attnprobe.hooks.recorders import Keep, Recorder

Count = Annotated[int, Ge(0)]
Positive = Annotated[int, Ge(1)]

RECORDERS: dict[str, type[Recorder]] = {
    name: cls
    for name, cls in vars(recorders).items()
    if name in recorders.__all__ and isinstance(cls, type) and cls is not Recorder
}
"""The recorders that a file may name."""


@dataclass(frozen=True)
class TokensRow:
    """`Tokens`; of each run its role, where it begins and where it ends."""

    spans: tuple[tuple[tuple[str, Count, Positive], ...], ...]
    grid: tuple[Positive, Positive, Positive] | None

    def tokens(self) -> Tokens:
        """The tokens meant.

        Raises:
            ValueError: runs that don't follow each other, items of different lengths, a grid that
                isn't the image's.
        """
        spans = tuple(tuple(Span(*span) for span in item) for item in self.spans)
        for item in spans:
            starts = [0, *(span.stop for span in item)]
            if not item or any(
                span.start != start or not len(span)
                for span, start in zip(item, starts, strict=False)
            ):
                raise ValueError("its runs of tokens don't follow each other")
            image = sum(len(span) for span in item if span.role == "image")
            if self.grid is not None and image != math.prod(self.grid):
                raise ValueError("its grid is not that of its image's tokens")
        if len({item[-1].stop for item in spans}) > 1:
            raise ValueError("its batch items differ in their number of tokens")
        return Tokens(spans, self.grid)


@dataclass(frozen=True)
class KeptRow:
    """`Kept`; under `tensors` the name of each part -> its key in the file."""

    steps: Annotated[tuple[Count, ...], MinLen(1)]
    timesteps: tuple[float | None, ...]
    branches: Annotated[tuple[str | None, ...], MinLen(1)]
    queries: TokensRow
    keys: TokensRow
    scaled: tuple[str, ...]
    whole: bool
    tensors: Annotated[dict[str, str], MinLen(1)]


@dataclass(frozen=True)
class RecordRow:
    """`Record`."""

    layer: Layer
    index: Count
    heads: Count
    calls: Positive
    steps: Annotated[tuple[Annotated[tuple[KeptRow, ...], MinLen(1)], ...], MinLen(1)]


_ROWS = TypeAdapter(tuple[RecordRow, ...])
_KEEP = TypeAdapter(dict[str, Any] | None)


def read_rows(text: str) -> tuple[RecordRow, ...]:
    """The records that a header tells of.

    Raises:
        ValueError: it is no JSON, or something in it is missing or of another type.
    """
    return _read(_ROWS, text, strict=True)


def _read(form: TypeAdapter[Any], text: str, strict: bool = False) -> Any:
    try:
        return form.validate_json(text, strict=strict)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None


def tokens_row(tokens: Tokens) -> dict[str, Any]:
    """Tokens as JSON; `TokensRow` reads them."""
    spans = [[(span.role, span.start, span.stop) for span in spans] for spans in tokens.spans]
    return {"spans": spans, "grid": tokens.grid}


def describe_recorder(keep: Recorder | None) -> dict[str, Any] | None:
    """One of our recorders with its parameters; None of somebody else's."""
    name = type(keep).__name__
    if keep is None or type(keep) is not RECORDERS.get(name):
        return None
    if isinstance(keep, Keep):
        return {"use": name, "tensors": keep.tensors}
    return {"use": name, **(dataclasses.asdict(keep) if dataclasses.is_dataclass(keep) else {})}


def read_recorder(text: str) -> Recorder | None:
    """The recorder that a header names.

    Raises:
        ValueError: it is no JSON, or names none of ours.
        TypeError: a parameter that the recorder doesn't have.
        AttnProbeError: a parameter out of its range.
    """
    given = _read(_KEEP, text)
    if given is None:
        return None
    name = given.pop("use", None)
    if not isinstance(name, str) or name not in RECORDERS:
        known = ", ".join(sorted(RECORDERS))
        raise ValueError(f"its recorder must be one of {known}. Got {name!r}")
    make: Any = RECORDERS[name]
    return make(*given.pop("tensors", ()), **given)


def part_shapes(
    keep: Recorder | None, heads: int, queries: Tokens, keys: Tokens
) -> dict[str, tuple[int, ...]] | None:
    """Sizes after the batch axis of each part that a recorder keeps; 0 where any will do.

    None of a recorder that isn't known here: its parts may be anything.
    """
    grid = queries.grid or (0, 0, 0)
    image, frames = math.prod(grid), grid if grid[0] > 1 else grid[1:]
    q, k = queries.count, keys.count
    match keep:
        case None:
            return None
        case Keep():
            each = dict.fromkeys(("k", "v"), (0, k, 0))  # grouped heads are fewer
            each |= {"q": (heads, q, 0), "out": (heads, q, 0)}
            each |= {"logits": (heads, q, k), "probs": (heads, q, k)}
            several = len(keep.tensors) > 1
            return {name if several else "": each[name] for name in keep.tensors}
        case recorders.PerHead():
            count = len(keep.heads) or heads
            if keep.words is not None:
                return {"": (count, image, len(keep.words.tokens))}
            return {"": (count, q, k)}
        case recorders.Rows():
            return {"": (len(keep.points), k)}
        case recorders.TokenMaps():
            return {"": (image, len(keep.tokens))}
        case recorders.TextMaps():
            return {"": (image, 0)}
        case recorders.Entropy():
            return {"": (heads, q)}
        case recorders.TopK():
            return {"values": (q, 0), "indices": (q, 0)}
        case recorders.Features():
            return {"": (*frames, 0)}
        case recorders.Pooled():
            return {"": (0, 0)}
    return {"": (q, k)}
