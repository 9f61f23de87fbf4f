"""How well a word's map shows where its objects are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from attnprobe.errors import AttnProbeError


@dataclass(frozen=True)
class WordScores:
    """A word's map against the mask of what the word names.

    Args:
        iou: of the places where the map, brought from 0 to 1, is at least a half; DAAM's use of
            maps (Tang et al., ACL 2023).
        best_iou: of the threshold that is best for this map.
        hit: whether the map's largest value, the first of equals, lies in the mask: the pointing
            game (Zhang et al., IJCV 2018).
        auc: the area under the ROC curve, the chance that a pixel of the mask has a larger value
            than one outside, ties counting half; NaN where the mask is empty or everything.
        ap: average precision over the pixels by falling value; NaN where the mask is empty.
    """

    iou: float
    best_iou: float
    hit: bool
    auc: float
    ap: float


def word_scores(values: np.ndarray, mask: np.ndarray) -> WordScores:
    """Score a word's map.

    Args:
        values: (H, W), finite.
        mask: (H, W) boolean, where the word's objects are.

    Raises:
        AttnProbeError: shapes differ, or a value isn't finite.
    """
    if values.shape != mask.shape or values.ndim != 2 or not np.isfinite(values).all():
        raise AttnProbeError(
            "word_scores: values must be finite and (H, W) like the mask. "
            f"Got {values.shape} and {mask.shape} instead."
        )
    levels, places = np.unique(values, return_inverse=True)
    count = len(levels)
    # Of the pixels whose value is at least each level, from the highest level down.
    total = np.bincount(places.ravel(), minlength=count)[::-1].cumsum()
    true = np.bincount(places.ravel(), mask.ravel().astype(float), count)[::-1].cumsum()
    positives, pixels = float(true[-1]), int(total[-1])
    unions = total + positives - true
    ious = true / unions
    low, high = float(levels[0]), float(levels[-1])
    above = int(np.count_nonzero(levels >= low + (high - low) / 2)) if high > low else count
    return WordScores(
        float(ious[above - 1]),
        float(ious.max()),
        bool(mask.ravel()[int(values.argmax())]),
        _auc(true, total - true, positives, pixels - positives),
        _average_precision(true, total, positives),
    )


def _auc(true: np.ndarray, false: np.ndarray, positives: float, negatives: float) -> float:
    """By trapezoids, which give ties a half."""
    if not positives or not negatives:
        return math.nan
    tpr = np.concatenate([[0], true]) / positives
    fpr = np.concatenate([[0], false]) / negatives
    return float(np.trapezoid(tpr, fpr))


def _average_precision(true: np.ndarray, total: np.ndarray, positives: float) -> float:
    """Σ (R_n − R_{n−1}) P_n."""
    if not positives:
        return math.nan
    gained = np.diff(np.concatenate([[0], true])) / positives
    return float((gained * (true / total)).sum())
