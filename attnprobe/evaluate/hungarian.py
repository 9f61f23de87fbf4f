"""Scores of unnamed segments against true classes, matched one to one."""

from __future__ import annotations

from typing import Literal, Self, get_args

import numpy as np

from attnprobe.errors import ComponentError
from attnprobe.evaluate.matching import one_to_one
from attnprobe.evaluate.overlaps import Overlaps, kept_numbers
from attnprobe.evaluate.score import Score
from attnprobe.evaluate.scores import Scores

HungarianMatch = Literal["per-image", "per-dataset"]


class HungarianScore(Score):
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
                f"HungarianScore.match: must be {' or '.join(get_args(HungarianMatch))}. "
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
        return f"HungarianScore({self.classes}, {self.match!r})"
