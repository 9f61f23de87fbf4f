"""The strongest layer for every pair of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attnprobe.aggregate.layers import by_grid
from attnprobe.fields import AttentionField
from attnprobe.lazy import torch
from attnprobe.registry import aggregator
from attnprobe.resample import finest, nearest_cells, resample_keys


@aggregator("max")
@dataclass(frozen=True)
class Max:
    """The maximum over layers at every pair of tokens, each row then divided by its sum.

    Keeps what a single layer attends to, where a mean dilutes it. Layers on coarser grids are
    brought to the finest as in DiffSeg (Tian et al. 2024, section 3.2): keys bilinear and summing
    to 1, each query the nearest coarse cell's row. O(L·N²) for L layers; memory is twice the
    finest field's.
    """

    def __call__(self, fields: Sequence[AttentionField]) -> AttentionField:
        """Fold one field a layer into one on the finest grid."""
        grid = finest(by_grid(fields, "Max"))
        n = grid[0] * grid[1]
        largest = torch.zeros(n, n, device=fields[0].rows.device)
        for field in fields:
            maps = resample_keys(field.rows, field.grid, grid)
            queries = nearest_cells(field.grid, grid, maps.device)
            for rows, cells in zip(largest.split(_CHUNK), queries.split(_CHUNK), strict=True):
                torch.maximum(rows, maps[cells], out=rows)
        largest /= largest.sum(1, keepdim=True)
        return AttentionField(largest, grid, origin="max")


_CHUNK = 512
"""Query rows compared at once."""
