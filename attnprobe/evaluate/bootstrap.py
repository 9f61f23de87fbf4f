"""Intervals by the bootstrap: how far a number could be off, had other images been drawn."""

from __future__ import annotations

import numpy as np
from einops import rearrange

RESAMPLES = 10_000
"""Draws of as many images as there are, with replacement."""

_CELLS = 1 << 22
"""Numbers held at once: 32 MB."""


def mean_interval(
    values: np.ndarray, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of a mean (Efron and Tibshirani 1993, section 13.3).

    Given the differences of two runs image by image, it is the paired interval of the difference
    of their means.

    Args:
        values: (n,) a number an image.
        level: share of such intervals that hold the true mean.
        resamples: how many draws of n images.
        seed: where the draws start; equal values get equal intervals.

    Returns:
        Lower and upper end; NaN twice of no values.
    """
    count = len(values)
    if count == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, _CELLS // count)
    for start in range(0, resamples, step):
        drawn = rng.integers(count, size=(min(step, resamples - start), count))
        means[start : start + step] = values[drawn].mean(1)
    return ends(means, level)


def score_draws(
    counts: np.ndarray, valid: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A dataset's ACC and mIoU, which are no means, had other images been drawn.

    Each draw adds up the counts of as many images as there are, and scores their sum. With one
    seed, draws of two runs over the same images are of the same images: their differences are
    paired.

    Args:
        counts: (images, 3, classes) true positives, false positives and false negatives.
        valid: (images,) valid pixels.
        resamples: how many draws.
        seed: where the draws start.

    Returns:
        (resamples,) accuracies and (resamples,) mIoUs; NaN where nothing valid was drawn.
    """
    images = len(counts)
    rng = np.random.default_rng(seed)
    flat = np.column_stack([counts.reshape(images, -1), valid]).astype(float)
    acc, miou = np.empty((2, resamples))
    step = max(1, _CELLS // max(images, flat.shape[1]))
    for start in range(0, resamples, step):
        part = slice(start, min(start + step, resamples))
        times = rng.multinomial(images, np.full(images, 1 / images), size=part.stop - part.start)
        drawn = times @ flat
        tp, fp, fn = rearrange(drawn[:, :-1], "draw (sum label) -> sum draw label", sum=3)
        union = tp + fp + fn
        with np.errstate(invalid="ignore"):
            acc[part] = tp.sum(1) / drawn[:, -1]
            miou[part] = np.divide(tp, union, where=union > 0, out=np.zeros_like(tp)).sum(1)
            miou[part] /= (union > 0).sum(1)
    return acc, miou


def ends(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Between which so many of the draws lie; NaN twice of none."""
    known = draws[~np.isnan(draws)]
    if not known.size:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)
