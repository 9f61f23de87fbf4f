"""Attention over several steps: rollout through the layers, and powers of a field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le, Lt

from attnprobe.aggregate.layers import by_grid
from attnprobe.aggregate.multiscale import Multiscale
from attnprobe.fields import AttentionField
from attnprobe.lazy import torch
from attnprobe.registry import aggregator
from attnprobe.resample import Grid, finest, nearest_cells, resample_keys


@aggregator("flow")
@dataclass(frozen=True)
class Flow:
    """Attention followed through several steps (rollout: Abnar & Zuidema 2020, section 3).

    A token attends to others, and these to others again: with residual connections a step is
    Â = r·I + (1 − r)·A, and steps multiply. ``rollout`` takes a step in each layer, the first
    layer's first: Â_L ⋯ Â_2 Â_1. ``multiscale`` takes all steps in DiffSeg's weighted sum of the
    layers (Tian et al. 2024, section 3.2), so `power` alone gives A^p. Coarser layers are brought
    to the finest grid as there, and rows are divided by their sums.

    Maps grow alike on the way, so a grouper by their distance wants far lower thresholds: DiffSeg
    with the embedded model about 0.003 after rollout, 0.05 after eight steps in the sum.

    O((L + log p)·N³) in time for L layers of the finest grid, less for coarser ones; memory is
    four times the finest field's.

    Args:
        through: the ``rollout`` of all layers, or the ``multiscale`` sum.
        residual: r, the share that stays where it is at each step; the paper's is 0.5.
        power: p, how many times that is gone through.
    """

    through: Literal["rollout", "multiscale"] = "rollout"
    residual: Annotated[float, Ge(0), Lt(1)] = 0.5
    power: Annotated[int, Ge(1), Le(1024)] = 1

    def __call__(self, fields: Sequence[AttentionField]) -> AttentionField:
        """Fold one field a layer into one on the finest grid."""
        grid = finest(by_grid(fields, "Flow"))
        n = grid[0] * grid[1]
        if self.through == "multiscale":
            fields = [Multiscale()(fields)]
        flow = torch.eye(n, device=fields[0].rows.device)
        for field in fields:
            flow = self._step(field, flow, grid)
        flow = torch.linalg.matrix_power(flow, self.power)
        return AttentionField(flow / flow.sum(1, keepdim=True), grid, origin="flow")

    def _step(self, field: AttentionField, flow: torch.Tensor, grid: Grid) -> torch.Tensor:
        """Â times the flow so far; a coarse layer's equal rows are multiplied only once."""
        maps = resample_keys(field.rows, field.grid, grid) @ flow
        attended = maps[nearest_cells(field.grid, grid, maps.device)]
        return attended.mul_(1 - self.residual).add_(flow, alpha=self.residual)
