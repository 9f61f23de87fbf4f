"""How well the lines between segments follow those between true regions."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from attnprobe.evaluate.matching import checked_labels

TOLERANCE = 0.0075
"""Share of the diagonal within which a line is right, as Berkeley's benchmark has it."""


def boundary_f(prediction: ArrayLike, truth: ArrayLike, tolerance: float = TOLERANCE) -> float:
    """F-measure of boundaries (Martin et al. 2004, by distance as in Csurka et al. 2013).

    A pixel is on a boundary if the one below it or to its right has another label. Precision is the
    share of the prediction's boundary pixels that have one of the truth's within the tolerance,
    recall the share of the truth's that have one of the prediction's; F is their harmonic mean.
    Where void is on either side there is no boundary. Unassigned pixels are as one segment.

    Args:
        prediction: (H, W) segments, −1 for pixels in none.
        truth: (H, W) regions, −1 for void.
        tolerance: largest Euclidean distance, as a share of the image's diagonal √(H² + W²).

    Returns:
        0 to 1; 1 if neither has a boundary, 0 if only one has, NaN if all is void.

    Raises:
        AttnProbeError: shapes differ, an array isn't of whole numbers, a label is below −1.
    """
    prediction, truth = checked_labels(prediction, truth)
    valid = truth >= 0
    if not valid.any():
        return math.nan
    lines = _boundary(prediction, valid), _boundary(truth, valid)
    if not all(line.any() for line in lines):
        return float(not any(line.any() for line in lines))
    reach = tolerance * math.hypot(*truth.shape)
    precision = np.mean(_distance(lines[1])[lines[0]] <= reach)
    recall = np.mean(_distance(lines[0])[lines[1]] <= reach)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _boundary(labels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Where the pixel below or to the right has another label, both being valid."""
    line = np.zeros(labels.shape, bool)
    for here, there in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        line[here] |= (labels[here] != labels[there]) & valid[here] & valid[there]
    return line


def _distance(line: np.ndarray) -> np.ndarray:
    """Pixels from each pixel to the nearest on the line."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~line)
