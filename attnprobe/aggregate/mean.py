"""The plain mean of all layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attnprobe.aggregate.layers import by_grid
from attnprobe.fields import AttentionField
from attnprobe.registry import aggregator
from attnprobe.resample import finest, weighted_sum


@aggregator("mean")
@dataclass(frozen=True)
class Mean:
    """The mean of all layers, each with equal weight.

    Layers on coarser grids are brought to the finest as in DiffSeg (Tian et al. 2024,
    section 3.2): keys bilinear and summing to 1, each query the nearest coarse cell's row.
    O(L·N²) for L layers; memory is twice the finest field's.
    """

    def __call__(self, fields: Sequence[AttentionField]) -> AttentionField:
        """Fold one field a layer into one on the finest grid."""
        grid = finest(by_grid(fields, "Mean"))
        total = weighted_sum([(field.grid, field.rows, 1 / len(fields)) for field in fields])
        return AttentionField(total, grid, origin="mean")
