"""One layer, as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attnprobe.aggregate.layers import by_grid
from attnprobe.errors import ComponentError, did_you_mean
from attnprobe.fields import AttentionField
from attnprobe.registry import aggregator


@aggregator("single")
@dataclass(frozen=True)
class Single:
    """One layer alone, on its own grid: the baseline that aggregation is measured against. O(1).

    Args:
        layer: its number in the order of computation, from 0 (−1 is the last), or its name, or a
            part of the name that no other layer has.
    """

    layer: int | str = 0

    def __call__(self, fields: Sequence[AttentionField]) -> AttentionField:
        """The field of that layer."""
        by_grid(fields, "Single")
        if isinstance(self.layer, int):
            return self._numbered(fields, self.layer)
        return self._named(fields, self.layer)

    def _numbered(self, fields: Sequence[AttentionField], number: int) -> AttentionField:
        if not -len(fields) <= number < len(fields):
            raise ComponentError(
                f"Single.layer: there are {len(fields)} layers, so a number must be "
                f"from {-len(fields)} to {len(fields) - 1}. Got {number} instead."
            )
        return fields[number]

    def _named(self, fields: Sequence[AttentionField], name: str) -> AttentionField:
        names = [field.origin for field in fields]
        meant = [i for i, n in enumerate(names) if n == name] or [
            i for i, n in enumerate(names) if name in n
        ]
        if len(meant) == 1:
            return fields[meant[0]]
        if meant:
            several = ", ".join(names[i] for i in meant)
            raise ComponentError(f"Single.layer: {name!r} is in several layers' names: {several}")
        raise ComponentError(
            f"Single.layer: no layer is called {name!r}{did_you_mean(name, names)}"
        )
