"""Accuracy and intersection over union: of an image, or added up over many and read at any time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike

from attnprobe.errors import AttnProbeError, ComponentError
from attnprobe.evaluate.matching import (
    Overlaps,
    best_overlap,
    checked_labels,
    count_overlaps,
    foreground,
    kept_numbers,
    majority,
    one_to_one,
)


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

    @property
    def counts(self) -> np.ndarray:
        """(3, classes): true positives, false positives, false negatives."""
        return np.stack([self.tp, self.fp, self.fn])


class Metric:
    """What the scores below have in common.

    All they keep are whole numbers, so the scores depend neither on the order of the images nor on
    how they are split over several workers.

    Args:
        classes: how many there are; the truth has labels from 0 to classes − 1.
    """

    def __init__(self, classes: int) -> None:
        if classes < 1:
            raise ComponentError(
                f"{type(self).__name__}.classes: must be at least 1. Got {classes} instead."
            )
        self.classes = classes
        self._counts = np.zeros((3, classes), np.int64)
        self._valid = 0

    def update(self, prediction: ArrayLike, truth: ArrayLike) -> None:
        """Add an image.

        Args:
            prediction: (H, W) segments, whole numbers of 0 or more, gaps allowed; −1 for pixels
                that are in none, which count as missed.
            truth: (H, W) classes; −1 for void, which counts nowhere.

        Raises:
            AttnProbeError: shapes differ, an array isn't of whole numbers, a label is out of range.
        """
        prediction, truth = checked_labels(prediction, truth)
        if truth.max() >= self.classes:
            raise AttnProbeError(
                f"truth: labels must be from 0 to {self.classes - 1}, or −1 for void. "
                f"Got {truth.max()} instead."
            )
        self._add(count_overlaps(prediction, truth, self.classes))

    def merge(self, other: Self) -> None:
        """Add the images of another score of the same settings, such as another worker's."""
        if self._settings() != other._settings():
            raise AttnProbeError(
                "merge: both scores must have the same settings. "
                f"Got {self._settings()} and {other._settings()} instead."
            )
        self._counts += other._counts
        self._valid += other._valid

    def compute(self) -> Scores:
        """The scores of all images so far."""
        return Scores.from_counts(self._counts.copy(), self._valid)

    def _add(self, overlaps: Overlaps) -> None:
        self._counts += self._matched(overlaps)
        self._valid += overlaps.valid

    def _matched(self, overlaps: Overlaps) -> np.ndarray:
        """Counts (3, classes) of an image."""
        raise NotImplementedError

    def _settings(self) -> str:
        return f"{type(self).__name__}({self.classes})"


class MajorityMetric(Metric):
    """Each segment takes its most frequent true class, many to one: what a labelling could reach.

    The more segments there are, the better it gets; one segment a pixel would be right everywhere.

    Args:
        classes: how many there are.
    """

    def _matched(self, overlaps: Overlaps) -> np.ndarray:
        return majority(overlaps)


class OverlapMetric(Metric):
    """Each true region takes the segment of best IoU with it, and may share it with others.

    Args:
        classes: how many there are.
    """

    def _matched(self, overlaps: Overlaps) -> np.ndarray:
        return best_overlap(overlaps)


class ForegroundMetric(Metric):
    """Classes are matched first, and all segments left over are background.

    As DiffCut's released program scores Pascal VOC and COCO-Object (Couairon et al., NeurIPS 2024).

    Args:
        classes: how many there are, the background included.
        background: its number.
    """

    def __init__(self, classes: int, background: int) -> None:
        super().__init__(classes)
        if not 0 <= background < classes:
            raise ComponentError(
                f"ForegroundMetric.background: must be a class, from 0 to {classes - 1}. "
                f"Got {background} instead."
            )
        self.background = background

    def _matched(self, overlaps: Overlaps) -> np.ndarray:
        return foreground(overlaps, self.background)

    def _settings(self) -> str:
        return f"ForegroundMetric({self.classes}, background={self.background})"


HungarianMatch = Literal["per-image", "per-dataset"]


class HungarianMetric(Metric):
    """Scores over a dataset, as Tian et al. (CVPR 2024) and the program they released take them.

    Segments are matched to the classes one to one so that the most pixels agree; the counts of the
    matched are summed over the images.

    Args:
        classes: how many there are; the truth has labels from 0 to classes − 1.
        match: ``per-image``, a matching of its own for each image; ``per-dataset``, one of segment
            numbers to classes for all, for methods whose number means the same in every image.
    """

    def __init__(self, classes: int, match: HungarianMatch = "per-image") -> None:
        super().__init__(classes)
        if match not in get_args(HungarianMatch):
            raise ComponentError(
                f"HungarianMetric.match: must be {' or '.join(get_args(HungarianMatch))}. "
                f"Got {match!r} instead."
            )
        self.match = match
        self._columns: dict[int, np.ndarray] = {}  # per-dataset: number -> pixels (classes,)
        self._total = np.zeros(classes, np.int64)
        self._segments = 1

    def merge(self, other: Self) -> None:
        """Add the images of another score of the same settings, such as another worker's."""
        super().merge(other)
        self._sum(other._columns, other._total, other._segments)

    def compute(self) -> Scores:
        """The scores of all images so far."""
        if self.match == "per-image":
            return super().compute()
        overlaps = self._overlaps()
        return Scores.from_counts(one_to_one(overlaps), overlaps.valid)

    def _add(self, overlaps: Overlaps) -> None:
        if self.match == "per-image":
            super()._add(overlaps)
            return
        present = overlaps.pixels.any(0)
        numbers = overlaps.numbers[present].tolist()
        columns = dict(zip(numbers, overlaps.pixels[:, present].T, strict=True))
        self._sum(columns, overlaps.total, int(overlaps.numbers[-1]) + 1)

    def _matched(self, overlaps: Overlaps) -> np.ndarray:
        return one_to_one(overlaps)

    def _sum(self, columns: dict[int, np.ndarray], total: np.ndarray, segments: int) -> None:
        for number, column in columns.items():
            self._columns[number] = self._columns.get(number, 0) + column
        self._total = self._total + total
        self._segments = max(self._segments, segments)

    def _overlaps(self) -> Overlaps:
        """Those of the whole dataset."""
        numbers = kept_numbers(np.array(sorted(self._columns), int), self._segments, self.classes)
        empty = np.zeros(self.classes, np.int64)
        pixels = [self._columns.get(number, empty) for number in numbers.tolist()]
        return Overlaps(np.stack(pixels, axis=1), numbers, self._total)

    def _settings(self) -> str:
        return f"HungarianMetric({self.classes}, {self.match!r})"
