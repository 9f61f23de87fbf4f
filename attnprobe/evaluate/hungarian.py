"""Scores of unnamed segments against true classes, matched one to one in each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from attnprobe.errors import AttnProbeError, ComponentError

Match = Literal["per-image"]


@dataclass(frozen=True, eq=False)
class Scores:
    """Accuracy and intersection over union, with the counts they come from.

    Args:
        acc: share of the valid pixels that the matched segments get right; NaN without any.
        miou: mean of `iou` over the classes that have one; NaN without any.
        iou: (classes,) tp / (tp + fp + fn); NaN where that is 0 / 0.
        tp: (classes,) pixels right; fp: wrongly given to the class; fn: missed.
        valid: pixels whose truth is not void.
    """

    acc: float
    miou: float
    iou: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    valid: int

    @classmethod
    def from_counts(cls, counts: np.ndarray, valid: int) -> Scores:
        """Scores from counts (3, classes): true positives, false positives, false negatives."""
        tp, fp, fn = counts
        union = counts.sum(0)
        iou = np.full(union.shape, np.nan)
        np.divide(tp, union, out=iou, where=union > 0)
        return cls(
            acc=float(tp.sum() / valid) if valid else float("nan"),
            miou=float(np.nanmean(iou)) if union.any() else float("nan"),
            iou=iou,
            tp=tp,
            fp=fp,
            fn=fn,
            valid=valid,
        )


class HungarianScore:
    """Scores over a dataset, as Tian et al. (CVPR 2024) and the program they released take them.

    In each image the segments are matched to the classes so that the most pixels agree; the
    counts of the matched are summed over the images. All counts are whole numbers, so the scores
    don't depend on the order of the images or on how they are split over several scores.

    Args:
        classes: how many there are; the truth has labels from 0 to classes − 1.
        match: "per-image", a matching of its own for each image.
    """

    def __init__(self, classes: int, match: Match = "per-image") -> None:
        if classes < 1:
            raise ComponentError(
                f"HungarianScore.classes: must be at least 1. Got {classes} instead."
            )
        if match not in get_args(Match):
            raise ComponentError(
                f"HungarianScore.match: must be {' or '.join(get_args(Match))}. "
                f"Got {match!r} instead."
            )
        self.classes = classes
        self.match = match
        self._counts = np.zeros((3, classes), np.int64)
        self._valid = 0

    def update(self, prediction: ArrayLike, truth: ArrayLike) -> None:
        """Add an image.

        Args:
            prediction: (H, W) segments, whole numbers of 0 or more, gaps allowed.
            truth: (H, W) classes, −1 for void.

        Raises:
            AttnProbeError: shapes differ, an array isn't of whole numbers, a label is out of range.
        """
        prediction, truth = _checked(prediction, truth)
        if truth.max() >= self.classes:
            raise AttnProbeError(
                f"truth: labels must be from 0 to {self.classes - 1}, or −1 for void. "
                f"Got {truth.max()} instead."
            )
        counts, valid = _matched(prediction, truth, self.classes)
        self._counts += counts
        self._valid += valid

    def merge(self, other: HungarianScore) -> None:
        """Add the images of another score, such as another worker's."""
        if (self.classes, self.match) != (other.classes, other.match):
            raise AttnProbeError(
                "HungarianScore.merge: both must have the same classes and match. Got "
                f"{self.classes}, {self.match!r} and {other.classes}, {other.match!r} instead."
            )
        self._counts += other._counts
        self._valid += other._valid

    def compute(self) -> Scores:
        """The scores of all images so far."""
        return Scores.from_counts(self._counts.copy(), self._valid)


def image_scores(prediction: ArrayLike, truth: ArrayLike) -> Scores:
    """Scores of one image by itself, whose classes are the labels that occur in its truth.

    The arrays are those of `HungarianScore.update`; the truth's labels may be any numbers, and
    class i of the scores is the i-th smallest of them.
    """
    prediction, truth = _checked(prediction, truth)
    occurring = np.unique(truth[truth >= 0])
    ordinal = np.where(truth >= 0, np.searchsorted(occurring, truth), -1)
    return Scores.from_counts(*_matched(prediction, ordinal, occurring.size))


def _checked(prediction: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as int64 arrays (H, W), if that is what they hold."""
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    for name, labels, lowest in (("prediction", prediction, 0), ("truth", truth, -1)):
        if labels.ndim != 2 or labels.size == 0 or not np.issubdtype(labels.dtype, np.integer):
            raise AttnProbeError(
                f"{name}: must be whole numbers of shape (H, W). "
                f"Got {labels.dtype} of shape {labels.shape} instead."
            )
        if labels.min() < lowest:
            raise AttnProbeError(
                f"{name}: labels must be {lowest} or more. Got {labels.min()} instead."
            )
    if prediction.shape != truth.shape:
        raise AttnProbeError(
            "prediction and truth must have the same shape. "
            f"Got {prediction.shape} and {truth.shape} instead."
        )
    return prediction.astype(np.int64), truth.astype(np.int64)


def _matched(prediction: np.ndarray, truth: np.ndarray, classes: int) -> tuple[np.ndarray, int]:
    """Counts (3, classes) of tp, fp and fn after matching, and the number of valid pixels."""
    histogram = _histogram(prediction, truth, classes)
    # Classes are the rows: transposed, ties would fall differently, and with them the scores.
    row, column = linear_sum_assignment(histogram, maximize=True)
    tp = histogram[row, column]
    fp = histogram.sum(0)[column] - tp
    fn = histogram.sum(1) - tp
    return np.stack([tp, fp, fn]), int(histogram.sum())


def _histogram(prediction: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Valid pixels (classes, segments) by class and segment, never fewer segments than classes.

    Where segments have large numbers, most of the columns of numbers that don't occur are left
    out, in a way that leaves the matching as it is, ties included. SciPy's solver scans the
    columns that are left in one order, takes the last unmatched among equals, and fills the place
    of a column taken with the one at the list's end. For the `classes` rows it takes fewer than
    `classes` matched columns before an unmatched one, and moves as many. So of empty columns,
    which are equal while unmatched, one of the first 2 · classes is always unmatched and unmoved,
    and comes before all later ones.
    """
    segments = max(classes, int(prediction.max()) + 1)
    if segments > _DENSE:
        occurring = np.unique(prediction)
        first = np.arange(min(segments, occurring.size + 2 * classes))
        empty = np.setdiff1d(first, occurring)[: 2 * classes]
        kept = np.union1d(occurring, empty)
        prediction = np.searchsorted(kept, prediction)
        segments = kept.size
    # Void, −1, is counted in a first row of its own, which is cheaper than a mask.
    cell = (truth + 1) * segments + prediction
    return np.bincount(cell.ravel(), minlength=(classes + 1) * segments).reshape(-1, segments)[1:]


_DENSE = 1 << 12
"""Segments up to which the histogram has a column for every number."""
