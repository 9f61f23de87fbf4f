"""What aggregators of words share: several layers' word maps brought to one grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from attnprobe.errors import ComponentError
from attnprobe.fields import AttentionField, WordMaps, refuse_nan
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
    total = sum(
        F.interpolate(layer.maps[None], size=size, mode="bilinear", align_corners=False)[0]
        for layer in layers
    )
    return torch.as_tensor(total) / len(layers)
