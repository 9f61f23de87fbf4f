"""DiffSeg's aggregation: layers of many resolutions become one field on the finest grid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from attnprobe.errors import ComponentError
from attnprobe.fields import AttentionField
from attnprobe.registry import aggregator
from attnprobe.resample import Grid, nearest_cells, resample_keys

_CHUNK = 512
"""Query rows added at once."""


@aggregator("multiscale")
@dataclass(frozen=True)
class Multiscale:
    """Weighted sum over resolutions, finer ones weighing more (Tian et al. 2024, section 3.2).

    Layers of one resolution s are averaged. Their key maps are upsampled bilinearly to the finest
    grid and divided by their sums; their query rows are repeated to it. Then A = Σ w_s A_s.
    Where the finest side n is no whole multiple of s, the same holds with the ratio n/s as a real
    number: each fine query takes the row of the nearest coarse cell. On grids that aren't square
    s is √(H·W).

    Args:
        weights: ``released``: w_s = s / Σ s over the resolutions, as the authors' program has it;
            ``paper``: w_s ∝ s over all layers, so a resolution with more layers weighs more.
    """

    weights: Literal["released", "paper"] = "released"

    def __call__(self, fields: Sequence[AttentionField]) -> AttentionField:
        """Fold one field a layer into one; memory is twice the finest field's."""
        if not fields:
            raise ComponentError("Multiscale: needs at least one attention field. Got none.")
        by_grid: dict[Grid, list[torch.Tensor]] = defaultdict(list)
        for field in fields:
            by_grid[field.grid].append(field.rows)
        finest = max(by_grid, key=lambda grid: grid[0] * grid[1])
        weights = self._weights(by_grid)
        n = finest[0] * finest[1]
        total = torch.zeros(n, n, device=fields[0].rows.device)
        for grid, layers in by_grid.items():
            mean = layers[0] if len(layers) == 1 else torch.stack(layers).mean(0)
            maps = resample_keys(mean, grid, finest)
            queries = nearest_cells(grid, finest, maps.device)
            for top in range(0, n, _CHUNK):
                part = slice(top, top + _CHUNK)
                total[part].add_(maps[queries[part]], alpha=weights[grid])
        return AttentionField(total, finest, origin="multiscale")

    def _weights(self, by_grid: dict[Grid, list[torch.Tensor]]) -> dict[Grid, float]:
        sizes = {grid: (grid[0] * grid[1]) ** 0.5 for grid in by_grid}
        if self.weights == "paper":
            sizes = {grid: size * len(by_grid[grid]) for grid, size in sizes.items()}
        total = sum(sizes.values())
        return {grid: size / total for grid, size in sizes.items()}
