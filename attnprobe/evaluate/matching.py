"""How segments and classes overlap, and which of them are matched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from attnprobe.errors import AttnProbeError


@dataclass(frozen=True, eq=False)
class Overlaps:
    """How the segments of a prediction lie over the classes of a truth.

    Args:
        pixels: (classes, segments), the valid pixels of each class in each segment.
        numbers: (segments,), what the columns' segments are called, ascending. Some may be empty.
        total: (classes,), the valid pixels of each class, those in no segment included.
    """

    pixels: np.ndarray
    numbers: np.ndarray
    total: np.ndarray

    @property
    def valid(self) -> int:
        """Pixels whose truth is not void."""
        return int(self.total.sum())


def checked_labels(prediction: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as int64 arrays (H, W), −1 for unassigned and void.

    Raises:
        AttnProbeError: shapes differ, an array isn't of whole numbers, a label is below −1.
    """
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    for name, labels in (("prediction", prediction), ("truth", truth)):
        if labels.ndim != 2 or labels.size == 0 or not np.issubdtype(labels.dtype, np.integer):
            raise AttnProbeError(
                f"{name}: must be whole numbers of shape (H, W). "
                f"Got {labels.dtype} of shape {labels.shape} instead."
            )
        if labels.min() < -1:
            raise AttnProbeError(f"{name}: labels must be −1 or more. Got {labels.min()} instead.")
        if labels.max() > _LARGEST:
            raise AttnProbeError(
                f"{name}: labels must be at most {_LARGEST:,}. Got {labels.max()} instead."
            )
    if prediction.shape != truth.shape:
        raise AttnProbeError(
            "prediction and truth must have the same shape. "
            f"Got {prediction.shape} and {truth.shape} instead."
        )
    return prediction.astype(np.int64), truth.astype(np.int64)


def count_overlaps(prediction: np.ndarray, truth: np.ndarray, classes: int) -> Overlaps:
    """Count the valid pixels by class and segment; the arrays are `checked_labels`.

    There is a column for each number up to the largest. Where that is large, most of the columns
    of numbers that don't occur are left out; see `kept_numbers`.
    """
    segments = max(1, int(prediction.max()) + 1)
    if segments <= _DENSE:
        numbers, column = np.arange(segments), prediction + 1
    else:
        occurring = np.unique(prediction)
        numbers = kept_numbers(occurring[occurring >= 0], segments, classes)
        column = np.searchsorted(numbers, prediction, side="right")
    # Void and unassigned, −1, are counted in a first row and column: cheaper than a mask.
    width = numbers.size + 1
    cells = np.bincount(((truth + 1) * width + column).ravel(), minlength=(classes + 1) * width)
    table = cells.reshape(classes + 1, width)[1:]
    return Overlaps(table[:, 1:], numbers, table.sum(1))


def kept_numbers(occurring: np.ndarray, segments: int, classes: int) -> np.ndarray:
    """The numbers that occur, and as many of the others below `segments` as a matching can tell.

    SciPy's solver scans the columns that are left in one order, takes the last unmatched among
    equals, and fills the place of a column taken with the one at the list's end. For the `classes`
    rows it takes fewer than `classes` matched columns before an unmatched one, and moves as many.
    So of empty columns, which are equal while unmatched, one of the first 2 · classes is always
    unmatched and unmoved, and comes before all later ones: without those the matching is the same,
    ties included.
    """
    first = np.arange(min(segments, occurring.size + 2 * classes))
    empty = np.setdiff1d(first, occurring)[: 2 * classes]
    return np.union1d(occurring, empty)


_LARGEST = 2**62
"""The greatest number of a label: one more, and twice it, are still 64-bit."""

_DENSE = 1 << 12
"""Segments up to which there is a column for every number."""


def one_to_one(overlaps: Overlaps) -> np.ndarray:
    """Each class has one segment of its own, so that the most pixels agree (Tian et al. 2024).

    A class that doesn't occur is given a segment too where one is left, whose pixels are then
    false positives; segments beyond the number of classes stand for none.
    """
    column, pixels = _assigned(overlaps.pixels)
    tp = pixels[np.arange(len(pixels)), column]
    return _counts(overlaps, tp, pixels.sum(0)[column])


def majority(overlaps: Overlaps) -> np.ndarray:
    """Each segment stands for its most frequent class, the first of equals: many to one."""
    winner = overlaps.pixels.argmax(0)
    tp, size = np.zeros((2, len(overlaps.pixels)), np.int64)
    np.add.at(tp, winner, overlaps.pixels.max(0))
    np.add.at(size, winner, overlaps.pixels.sum(0))
    return _counts(overlaps, tp, size)


def best_overlap(overlaps: Overlaps) -> np.ndarray:
    """Each class takes the segment of highest IoU with it, the first of equals; several may share.

    A class that no segment touches takes none.
    """
    pixels, sizes = overlaps.pixels, overlaps.pixels.sum(0)
    union = overlaps.total[:, None] + sizes - pixels
    column = (pixels / np.maximum(union, 1)).argmax(1)
    tp = pixels[np.arange(len(pixels)), column]
    return _counts(overlaps, tp, np.where(tp > 0, sizes[column], 0))


def foreground(overlaps: Overlaps, background: int) -> np.ndarray:
    """Classes first, and what isn't theirs is background (Couairon et al. 2024, on VOC).

    As DiffCut's released program has it: the other classes are matched one to one over their own
    pixels; segments that no class among them takes become one, and all are matched anew, the
    background in the last row.
    """
    order = np.append(np.delete(np.arange(len(overlaps.pixels)), background), background)
    pixels = overlaps.pixels[order]
    column, things = _assigned(pixels[:-1])
    taken = column[things[:, column].any(1)]
    rest = np.setdiff1d(np.flatnonzero(pixels.any(0)), taken)
    if rest.size:
        pixels = np.append(pixels, pixels[:, rest].sum(1, keepdims=True), axis=1)
        pixels[:, rest] = 0
    merged = Overlaps(pixels, np.arange(pixels.shape[1]), overlaps.total[order])
    return one_to_one(merged)[:, np.argsort(order)]


def _assigned(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The column of each class, and the pixels with empty columns up to the number of classes."""
    from scipy.optimize import linear_sum_assignment

    missing = max(0, len(pixels) - pixels.shape[1])
    pixels = np.pad(pixels, ((0, 0), (0, missing)))
    # Classes are the rows: transposed, ties would fall differently, and with them the scores.
    _, column = linear_sum_assignment(pixels, maximize=True)
    return column, pixels


def _counts(overlaps: Overlaps, tp: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Counts of classes to which so many pixels are given, of which so many are right."""
    return np.stack([tp, size - tp, overlaps.total - tp])
