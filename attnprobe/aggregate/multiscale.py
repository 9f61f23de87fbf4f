"""DiffSeg's aggregation: layers of many resolutions become one field on the finest grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import WithJsonSchema

from attnprobe.aggregate.layers import by_grid, means
from attnprobe.errors import ComponentError
from attnprobe.fields import AttentionField
from attnprobe.lazy import torch
from attnprobe.registry import aggregator
from attnprobe.resample import Grid, finest, weighted_sum

Side = Annotated[int, Ge(1), Le(99999)]
"""Tokens along a square grid's side."""

Weights = Annotated[
    dict[Side, Annotated[float, Gt(0), Le(1e6)]],
    MinLen(1),
    # A mapping's keys are text to JSON, so that the bounds of a whole number don't hold there.
    WithJsonSchema(
        {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^[1-9][0-9]{0,4}$"},
            "additionalProperties": {"type": "number", "exclusiveMinimum": 0, "maximum": 1e6},
        }
    ),
]


@aggregator("multiscale")
@dataclass(frozen=True)
class Multiscale:
    """Weighted sum over resolutions, finer ones weighing more (Tian et al. 2024, section 3.2).

    Layers of one resolution s are averaged. Their key maps are upsampled bilinearly to the finest
    grid and divided by their sums; their query rows are repeated to it. Then A = Σ w_s A_s.
    Where the finest side n is no whole multiple of s, the same holds with the ratio n/s as a real
    number: each fine query takes the row of the nearest coarse cell. On grids that aren't square
    s is √(H·W), and a side that is named in a key means the grids whose s is within a factor √2
    of it, so that one recipe does for pictures of any shape. O(L·N²) for L layers.

    Args:
        weights: ``released``: w_s = s / Σ s over the resolutions, as the authors' program has it;
            ``paper``: w_s ∝ s over all layers, so a resolution with more layers weighs more;
            or the weight of each side, such as ``{32: 2, 16: 1}``, divided by their sum.
        grids: the sides that are used; by default all that were captured.
    """

    weights: Literal["released", "paper"] | Weights = "released"
    grids: Annotated[tuple[Side, ...], MinLen(1)] | None = None

    def __call__(self, fields: Sequence[AttentionField]) -> AttentionField:
        """Fold one field a layer into one; memory is twice the finest field's."""
        layers = self._chosen(by_grid(fields, "Multiscale"))
        weights = self._weights(layers)
        total = weighted_sum([(g, mean, weights[g]) for g, mean in means(layers).items()])
        return AttentionField(total, finest(layers), origin="multiscale")

    def _chosen(self, layers: dict[Grid, list[torch.Tensor]]) -> dict[Grid, list[torch.Tensor]]:
        if self.grids is None:
            return layers
        for side in self.grids:
            if not any(_means(side, grid) for grid in layers):
                raise ComponentError(
                    f"Multiscale.grids: no layer has a grid of side {side}; "
                    f"the layers' are {_listed(layers)}."
                )
        return {g: rows for g, rows in layers.items() if any(_means(s, g) for s in self.grids)}

    def _weights(self, layers: dict[Grid, list[torch.Tensor]]) -> dict[Grid, float]:
        if isinstance(self.weights, dict):
            weights = {grid: _given(self.weights, grid) for grid in layers}
        else:
            weights = {grid: _side(grid) for grid in layers}
        if self.weights == "paper":
            weights = {grid: weight * len(layers[grid]) for grid, weight in weights.items()}
        total = sum(weights.values())
        return {grid: weight / total for grid, weight in weights.items()}


def _side(grid: Grid) -> float:
    return (grid[0] * grid[1]) ** 0.5


def _means(side: int, grid: Grid) -> bool:
    """Whether the side in a key is that of the grid: nearer to it than to its half or double."""
    return side**2 <= 2 * grid[0] * grid[1] and grid[0] * grid[1] < 2 * side**2


def _given(weights: dict[int, float], grid: Grid) -> float:
    near = [side for side in weights if _means(side, grid)]
    if not near:
        raise ComponentError(
            f"Multiscale.weights: no weight is given for the layers of grid {grid[0]}×{grid[1]}, "
            f"side {_side(grid):.0f}. Got those of {', '.join(map(str, weights))}; "
            "Multiscale.grids leaves layers out."
        )
    return weights[min(near, key=lambda side: abs(side - _side(grid)))]


def _listed(layers: dict[Grid, list[torch.Tensor]]) -> str:
    return ", ".join(f"{height}×{width}" for height, width in layers)
