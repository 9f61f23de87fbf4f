"""What aggregators of words share: several layers' word maps brought to one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attnprobe.errors import ComponentError
from attnprobe.fields import AttentionField, WordMaps, refuse_nan
from attnprobe.lazy import F, torch
from attnprobe.resample import Grid, finest


def apart(
    fields: Sequence[AttentionField | WordMaps], who: str
) -> tuple[list[AttentionField], list[WordMaps]]:
    """The layers that look at places, and those that look at words.

    Raises:
        ComponentError: there is no layer with words, or layers have other words; `who` asked.
        AttnProbeError: a layer's maps have NaN.
    """
    places = [field for field in fields if isinstance(field, AttentionField)]
    spoken = [field for field in fields if isinstance(field, WordMaps)]
    if not spoken:
        raise ComponentError(f"{who}: needs the maps of words of at least one layer. Got none.")
    refuse_nan(spoken, who)
    for field in spoken:
        if field.words != spoken[0].words:
            raise ComponentError(
                f"{who}: all layers must have the same words. Got {', '.join(spoken[0].words)} and "
                f"{', '.join(field.words)} instead."
            )
    return places, spoken


def mean_maps(layers: Sequence[WordMaps], grid: Grid | None = None) -> torch.Tensor:
    """The mean over layers of their maps (K, H, W), enlarged bilinearly to `grid` or the finest."""
    size = finest(layer.grid for layer in layers) if grid is None else grid
    total = sum(_enlarged(layer.maps, size) for layer in layers)
    return torch.as_tensor(total) / len(layers)


def weighted_maps(
    layers: Sequence[WordMaps], weights: Mapping[int, float], grid: Grid, who: str
) -> torch.Tensor:
    """The sum over sides √(H·W) of their layers' mean, each map divided by its own sum first.

    Enlarged bilinearly to `grid`, times the side's weight; layers of other sides don't count.

    Raises:
        ComponentError: no layer has a side that is asked for; `who` asked.
    """
    total = torch.zeros(len(layers[0].words), *grid, device=layers[0].device)
    for side, weight in weights.items():
        near = [layer for layer in layers if layer.grid[0] * layer.grid[1] == side**2]
        if not near:
            sides = sorted({f"{layer.grid[0]}×{layer.grid[1]}" for layer in layers})
            raise ComponentError(
                f"{who}: no layer of words has {side}² tokens; there are {', '.join(sides)}"
            )
        mean = torch.stack([layer.maps for layer in near]).mean(0)
        total += weight * _enlarged(divided(mean, mean.sum((1, 2))), grid)
    return total


def _enlarged(maps: torch.Tensor, grid: Grid) -> torch.Tensor:
    return F.interpolate(maps[None], size=grid, mode="bilinear", align_corners=False)[0]


def divided(maps: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    """Each of the maps (K, H, W) by its number (K,); by nothing where that is 0."""
    return maps / torch.where(by > 0, by, 1)[:, None, None]


def from_zero_to_one(maps: torch.Tensor) -> torch.Tensor:
    """Each of the maps (K, H, W) less its least value and by its largest; 0 where it is even."""
    maps = maps - maps.amin((1, 2), keepdim=True)
    return divided(maps, maps.amax((1, 2)))
