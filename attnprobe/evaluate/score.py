"""Scores over many images: added up image by image, merged from workers, and read at any time."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from attnprobe.errors import AttnProbeError, ComponentError
from attnprobe.evaluate.matching import best_overlap, foreground, majority
from attnprobe.evaluate.overlaps import Overlaps, checked, count_overlaps
from attnprobe.evaluate.scores import Scores


class Score:
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
        prediction, truth = checked(prediction, truth)
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


class MajorityScore(Score):
    """Each segment takes its most frequent true class, many to one: what a labelling could reach.

    The more segments there are, the better it gets; one segment a pixel would be right everywhere.

    Args:
        classes: how many there are.
    """

    def _matched(self, overlaps: Overlaps) -> np.ndarray:
        return majority(overlaps)


class OverlapScore(Score):
    """Each true region takes the segment of best IoU with it, and may share it with others.

    Args:
        classes: how many there are.
    """

    def _matched(self, overlaps: Overlaps) -> np.ndarray:
        return best_overlap(overlaps)


class ForegroundScore(Score):
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
                f"ForegroundScore.background: must be a class, from 0 to {classes - 1}. "
                f"Got {background} instead."
            )
        self.background = background

    def _matched(self, overlaps: Overlaps) -> np.ndarray:
        return foreground(overlaps, self.background)

    def _settings(self) -> str:
        return f"ForegroundScore({self.classes}, background={self.background})"
