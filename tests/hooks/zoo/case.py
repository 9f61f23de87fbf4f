"""One denoiser of the zoo: how to build it, what to feed it, what must be seen in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

Runs = tuple[tuple[str, int], ...]
"""Roles of a sequence's tokens in their order, run by run: (("text", 7), ("image", 24))."""


@dataclass(frozen=True)
class Seen:
    """One call of attention.

    Args:
        query: roles of the queries.
        key: roles of the keys; the queries' if None.
        query_grid: (frames, height, width) of the queries' image tokens; None if they are none or
            lie on no grid of space (temporal attention: (frames, 1, 1)).
        key_grid: the same of the keys; the queries' if None and `key` is None.
    """

    query: Runs
    key: Runs | None = None
    query_grid: tuple[int, int, int] | None = None
    key_grid: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Expected:
    """One attention layer.

    Args:
        kind: ``self`` (queries and keys are the same image tokens, or the same text tokens),
            ``cross``, ``joint`` (one sequence of image and text), ``temporal`` (over frames).
        block: ``down``, ``mid``, ``up``, ``double``, ``single`` or None.
        heads: number of query heads.
        calls: what one pass calls, in order; for a batch whose items differ, a tuple of one
            `Seen` an item in place of a `Seen`. Empty: the layer has no map (linear attention).
    """

    kind: str
    block: str | None
    heads: int
    calls: tuple[Seen | tuple[Seen, ...], ...]


@dataclass(frozen=True)
class Case:
    """A denoiser.

    Args:
        name: the class, and a word more if one class has several cases.
        build: the model, seeded, float32, ``eval()``.
        inputs: keyword arguments of its ``forward``, seeded; batch 2, image not square.
        layers: every attention layer by its dotted name, in the model's order.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Any]]
    layers: dict[str, Expected] = field(default_factory=dict)
