"""Maps from one token grid to another."""

from __future__ import annotations

import torch
import torch.nn.functional as F

Grid = tuple[int, int]


def resample_keys(rows: torch.Tensor, grid: Grid, to: Grid) -> torch.Tensor:
    """Maps (Q, h·w) over one grid as maps (Q, H·W) over another, each summing to 1 again.

    Bilinear with half-pixel centres, no antialiasing (diffseg's own rule when it enlarges).
    """
    maps = rows.view(-1, 1, *grid)
    maps = F.interpolate(maps, size=to, mode="bilinear", align_corners=False).flatten(1)
    return maps / maps.sum(1, keepdim=True)


def nearest_cells(grid: Grid, to: Grid, device: torch.device | None = None) -> torch.Tensor:
    """For each cell of the grid `to`, the number of the nearest cell of `grid`, (H·W,) int64.

    Cell i of n lies at (i + ½)/n; where n/s is a whole number this repeats each coarse cell n/s
    times, and elsewhere it is the same rule with a real-valued ratio.
    """
    y, x = (
        (2 * torch.arange(n, device=device) + 1) * s // (2 * n)
        for s, n in zip(grid, to, strict=True)
    )
    return (y[:, None] * grid[1] + x[None, :]).flatten()


def resample(rows: torch.Tensor, grid: Grid, to: Grid) -> torch.Tensor:
    """A field's rows (h·w, h·w) on another grid: keys bilinear, queries nearest."""
    return resample_keys(rows, grid, to)[nearest_cells(grid, to, rows.device)]
