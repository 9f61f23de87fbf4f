"""What the tokens of a sequence are, the grid of the image's, and which sequences a pass has."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from attnprobe.errors import CaptureError
from attnprobe.hooks.families import TEMPORAL
from attnprobe.hooks.layers import Layer

Grid3 = tuple[int, int, int]
"""Frames, height and width, in tokens."""


@dataclass(frozen=True)
class Span:
    """A run of tokens of one role: places `start` to `stop` (not included)."""

    role: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Tokens:
    """The tokens of a sequence.

    Args:
        spans: one tuple of runs for each batch item, or a single one that holds for all; empty if
            the roles are not known. Roles are ``image``, ``text``, ``reference`` and what a
            family has besides, such as ``time`` or ``pad``.
        grid: (frames, height, width) of the image's tokens, in row-major order, or None.
    """

    spans: tuple[tuple[Span, ...], ...] = ()
    grid: Grid3 | None = None

    @classmethod
    def runs(cls, *runs: tuple[str, int], grid: Grid3 | None = None) -> Tokens:
        """Tokens from their runs in order, the same in every item: ``("text", 77), …``."""
        return cls((spans_of(runs),), grid)

    @property
    def known(self) -> bool:
        """Whether the roles are known."""
        return bool(self.spans)

    @property
    def count(self) -> int:
        """How many tokens there are; 0 if not known."""
        return sum(len(span) for span in self.spans[0]) if self.spans else 0

    def roles(self, item: int = 0) -> tuple[tuple[str, int], ...]:
        """(role, number of tokens) run by run of a batch item; empty if not known."""
        if not self.spans:
            return ()
        spans = self.spans[item if len(self.spans) > 1 else 0]
        return tuple((span.role, len(span)) for span in spans)

    def run(self, role: str, item: int | None = None) -> slice:
        """Where the one run of a role lies: in a batch item, or the same in all of them.

        Raises:
            CaptureError: the roles are not known, the role does not occur, or it lies elsewhere
                from item to item.
        """
        if not self.spans:
            raise CaptureError("which tokens are the image's and which the text's isn't known")
        each = self.spans
        if item is not None and len(self.spans) > 1:
            each = (self.spans[item],)
        found = {tuple(span for span in spans if span.role == role) for spans in each}
        if len(found) > 1:
            raise CaptureError(f"its {role} tokens lie at other places from batch item to item")
        (spans,) = found
        if len(spans) != 1:
            raise CaptureError(f"its tokens have {len(spans)} runs of role {role}, one is needed")
        return slice(spans[0].start, spans[0].stop)


def spans_of(runs: tuple[tuple[str, int], ...] | list[tuple[str, int]]) -> tuple[Span, ...]:
    """Runs (role, count) as spans; runs of no tokens are left out."""
    spans, start = [], 0
    for role, count in runs:
        if count:
            spans.append(Span(role, start, start + count))
        start += count
    return tuple(spans)


_OF_TEXT = re.compile(r"context|text|caption")
"""Layers that the text goes through by itself."""


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
        if TEMPORAL.search(layer.name):
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
