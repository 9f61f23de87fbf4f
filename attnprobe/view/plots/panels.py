"""Panels side by side, each a picture with a map over it: what most plots are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from attnprobe.errors import AttnProbeError
from attnprobe.view.plots.plot import Plot

if TYPE_CHECKING:
    from PIL.Image import Image

Place = tuple[float, float]
"""Row and column as shares of the picture's height and width, from 0 to 1."""

_TITLE = 0.3
"""Inches above a panel, enough for two lines; what isn't needed is trimmed."""

_COVER = 0.7
"""How much a map covers the picture under it."""

_BRIGHTEST = 0.99
"""The quantile of a map that has the brightest colour: one bright token hides no others."""


def columns_for(width: float, narrowest: float = 0.8) -> int:
    """How many panels of at least that many inches fit side by side."""
    return max(1, int(width / narrowest))


def aspect_of(picture: Image | None, grid: Sequence[int]) -> float:
    """Height over width of a picture, or of the grid where there is none."""
    height, width = grid if picture is None else (picture.height, picture.width)
    return height / width


def panels(plot: Plot, count: int, aspect: float, columns: int | None = None) -> list[Axes]:
    """Divide a plot into panels, row by row, without ticks or frames.

    Args:
        plot: an empty one; its height is set.
        count: how many panels.
        aspect: height of a panel over its width.
        columns: how many side by side; by default as many as stay legible.
    """
    width = plot.get_figwidth()
    columns = min(count, columns or columns_for(width))
    rows = math.ceil(count / columns)
    plot.set_figheight(rows * (width / columns * aspect + _TITLE))
    axes = list(plot.subplots(rows, columns, squeeze=False).ravel())
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    for axis in axes[count:]:
        axis.remove()
    return axes[:count]


def show_map(
    axis: Axes,
    values: np.ndarray,
    picture: Image | None,
    at: Place | None = None,
    low: float = 0.0,
) -> None:
    """A map (H, W) from `low` to its 99th percentile, over a grey picture; a cross at a place."""
    height, width = values.shape if picture is None else (picture.height, picture.width)
    extent = (0, width, height, 0)
    high = float(np.quantile(values, _BRIGHTEST))
    if picture is not None:
        axis.imshow(picture.convert("L"), cmap="gray", vmin=0, vmax=255, extent=extent)
    axis.imshow(
        values,
        vmin=low,
        vmax=high if high > low else low + 1,
        alpha=1.0 if picture is None else _COVER,
        interpolation="nearest" if picture is None else "bilinear",
        extent=extent,
    )
    if at is not None:
        axis.plot(at[1] * width, at[0] * height, "+", color="white", ms=6, mew=2)
        axis.plot(at[1] * width, at[0] * height, "+", color="red", ms=5, mew=0.8)


def key_to_maps(plot: Plot, axes: list[Axes], low: str = "0") -> None:
    """Beside the panels the colours of a map, from `low` to its 99th percentile."""
    colours = ScalarMappable(norm=Normalize(0, 1))
    bar = plot.colorbar(colours, ax=axes, fraction=0.02, pad=0.01, aspect=30)
    bar.set_ticks([0, 1], labels=[low, f"p{100 * _BRIGHTEST:.0f}"])
    bar.ax.tick_params(length=0, pad=1.5)
    bar.outline.set_visible(False)


def place_in(at: Place, grid: tuple[int, int]) -> tuple[int, int]:
    """The cell of a grid that a place lies in.

    Raises:
        AttnProbeError: it lies outside the picture.
    """
    if not all(0 <= share <= 1 for share in at):
        raise AttnProbeError(
            "at must be the row and the column as shares of the picture, from 0 to 1. "
            f"Got {at} instead."
        )
    (y, x), (height, width) = at, grid
    return min(int(y * height), height - 1), min(int(x * width), width - 1)
