"""The affinity matrix, its tokens in the order of their segments."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import LogNorm

from attnprobe.fields import AttentionField, Segmentation
from attnprobe.pictures.palette import ranked_by_area, segment_colours
from attnprobe.view.plots.plot import COLUMN, Plot, style

_RANGE = (0.1, 10.0)
"""Affinities shown, as multiples of what each token would have if all were equal."""

_STRIP = 0.03
"""Width of the segments' colours beside the matrix, as a share of it."""

_NUMBERED = 0.045
"""Least share of the tokens for a segment's number to have room."""


@style()
def affinity(field: AttentionField, segmentation: Segmentation, *, width: float = COLUMN) -> Plot:
    """The symmetric affinity ½(A + Aᵀ) with tokens ordered by segment, and lines between segments.

    Segments come by area, in the overlay's colours; the larger have their numbers. A grouping that
    fits the attention has bright blocks along the diagonal. Values are times N: 1 is what a token
    gets where attention is spread evenly.

    Args:
        field: the attention, N tokens.
        segmentation: of the same picture, of any size.
        width: inches.
    """
    labels = segmentation.resized(field.grid).labels
    compact, rank = ranked_by_area(labels)
    ranks = rank[compact.ravel() + 1]
    order = np.argsort(ranks, kind="stable")
    matrix = field.symmetric().cpu().numpy()[np.ix_(order, order)] * len(order)
    plot = Plot(width, width, layout="constrained")
    axis = plot.subplots()
    drawn = axis.imshow(matrix.clip(*_RANGE), norm=LogNorm(*_RANGE), interpolation="antialiased")
    borders = np.flatnonzero(np.diff(ranks[order])) + 0.5
    axis.hlines(borders, -0.5, len(order) - 0.5, color="white", lw=0.5)
    axis.vlines(borders, -0.5, len(order) - 0.5, color="white", lw=0.5)
    strip = segment_colours(ranks[order])
    left, above = (-1.5 * _STRIP, 0, _STRIP, 1), (0, 1 + _STRIP / 2, 1, _STRIP)
    for bounds, colours in ((left, strip[:, None]), (above, strip[None])):
        beside = axis.inset_axes(bounds)
        beside.imshow(colours, aspect="auto", interpolation="nearest")
        beside.set_axis_off()
    axis.set_yticks(*_numbers(labels.ravel()[order], borders))
    axis.set_xticks([])
    axis.tick_params(length=0, pad=1.5 * _STRIP * width * 72)
    axis.set_ylabel("segment")
    axis.spines[:].set_visible(False)
    bar = plot.colorbar(drawn, ax=axis, fraction=0.045, pad=0.02)
    bar.set_ticks([*_RANGE, 1.0], labels=["≤ 0.1", "≥ 10", "1"])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    bar.set_label("affinity × N")
    return plot.trimmed()


def _numbers(labels: np.ndarray, borders: np.ndarray) -> tuple[list[float], list[str]]:
    """Middles and numbers of the segments that have room for them."""
    edges = np.array([-0.5, *borders, len(labels) - 0.5])
    wide = [i for i in range(len(edges) - 1) if edges[i + 1] - edges[i] >= _NUMBERED * len(labels)]
    middles = [float(edges[i] + edges[i + 1]) / 2 for i in wide]
    return middles, [str(labels[int(edges[i] + 0.5)]) for i in wide]
