"""What a threshold does: segments, and scores where there is truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from attnprobe.errors import AttnProbeError
from attnprobe.evaluate import image_scores
from attnprobe.evaluate.bootstrap import mean_interval
from attnprobe.fields import AttentionField, Segmentation
from attnprobe.group.diffseg import DiffSeg
from attnprobe.pictures.palette import OKABE_ITO
from attnprobe.view.plots.plot import COLUMN, Plot, style


@style()
def threshold_curve(
    fields: AttentionField | Sequence[AttentionField],
    thresholds: Sequence[float],
    truths: np.ndarray | Sequence[np.ndarray] | None = None,
    *,
    group: DiffSeg | None = None,
    width: float = COLUMN,
) -> Plot:
    """DiffSeg's segments, and mIoU where there is truth, against the threshold τ of all passes.

    Of several fields the mean is drawn, with its 95 % interval over the images (bootstrap).

    Args:
        fields: aggregated attention, of one picture or of several.
        thresholds: the values of τ.
        truths: the true labels (H, W) of each, −1 for void.
        group: the grouper whose thresholds are replaced; DiffSeg as published by default.
        width: inches.

    Raises:
        AttnProbeError: there is no field or no threshold, or not one truth a field.
    """
    fields = [fields] if isinstance(fields, AttentionField) else [*fields]
    if truths is not None:
        truths = [truths] if isinstance(truths, np.ndarray) and truths.ndim == 2 else [*truths]
    if not fields or len(thresholds) == 0:
        raise AttnProbeError("threshold_curve: needs at least one field and one threshold")
    if truths is not None and len(truths) != len(fields):
        raise AttnProbeError(
            f"threshold_curve: needs one truth for each of {len(fields)} fields. "
            f"Got {len(truths)} instead."
        )
    group = group or DiffSeg()
    taus = np.sort(np.asarray(thresholds, float))
    found = [[_grouped(group, field, tau) for tau in taus] for field in fields]
    curves = {"segments": np.array([[seg.count for seg in row] for row in found])}
    if truths is not None:
        curves["mIoU"] = np.array(
            [[_miou(seg, truth) for seg in row] for row, truth in zip(found, truths, strict=True)]
        )
    plot = Plot(width, 0.35 + 0.9 * len(curves), layout="constrained")
    axes = plot.subplots(len(curves), sharex=True, squeeze=False)[:, 0]
    for axis, (name, values), colour in zip(axes, curves.items(), OKABE_ITO, strict=False):
        _draw(axis, taus, values, np.array(colour) / 255)
        axis.set_ylabel(name)
    axes[0].set_ylim(bottom=0)
    axes[0].yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes[-1].set_xlabel("threshold τ")
    plot.align_ylabels(axes)
    return plot


def _grouped(group: DiffSeg, field: AttentionField, tau: float) -> Segmentation:
    return group.with_threshold(float(tau))(field, rng=np.random.default_rng(0))


def _miou(segmentation: Segmentation, truth: np.ndarray) -> float:
    return image_scores(segmentation.resized(truth.shape).labels, truth).miou


def _draw(axis: Axes, taus: np.ndarray, values: np.ndarray, colour: np.ndarray) -> None:
    """The mean over the images (rows) and, if there are several, its interval."""
    axis.plot(taus, values.mean(0), "o-", color=colour, clip_on=False, zorder=3)
    if len(values) > 1:
        low, high = np.transpose([mean_interval(column) for column in values.T])
        axis.fill_between(taus, low, high, color=colour, alpha=0.2, lw=0)
    axis.grid(axis="y", lw=0.3)
