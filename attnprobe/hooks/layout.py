"""What the sequences of a denoiser's pass are, and which of them a layer's call has."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from attnprobe.hooks.families import TEMPORAL
from attnprobe.hooks.layers import Layer
from attnprobe.hooks.tokens import Tokens

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
