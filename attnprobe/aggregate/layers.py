"""What aggregators share: a check, and layers of one grid folded into their mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from attnprobe.errors import ComponentError
from attnprobe.fields import AttentionField
from attnprobe.lazy import torch
from attnprobe.resample import Grid


def by_grid(fields: Sequence[AttentionField], who: str) -> dict[Grid, list[torch.Tensor]]:
    """The layers' rows by their grid.

    Raises:
        ComponentError: there is no layer; `who` says which aggregator was asked.
    """
    if not fields:
        raise ComponentError(f"{who}: needs at least one attention field. Got none.")
    found: dict[Grid, list[torch.Tensor]] = defaultdict(list)
    for field in fields:
        found[field.grid].append(field.rows)
    return dict(found)


def means(layers: dict[Grid, list[torch.Tensor]]) -> dict[Grid, torch.Tensor]:
    """The mean of each grid's layers."""
    return {
        grid: rows[0] if len(rows) == 1 else torch.stack(rows).mean(0)
        for grid, rows in layers.items()
    }
