"""Intervals by the paired bootstrap: how far a mean could be off, had other images been drawn."""

from __future__ import annotations

import numpy as np

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
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
