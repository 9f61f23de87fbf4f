"""Which segments stand for which classes, and the pixels that are right and wrong then.

Each function takes the overlaps of segments and classes and gives counts (3, classes): true
positives, false positives, false negatives.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from attnprobe.evaluate.overlaps import Overlaps


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
    missing = max(0, len(pixels) - pixels.shape[1])
    pixels = np.pad(pixels, ((0, 0), (0, missing)))
    # Classes are the rows: transposed, ties would fall differently, and with them the scores.
    _, column = linear_sum_assignment(pixels, maximize=True)
    return column, pixels


def _counts(overlaps: Overlaps, tp: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Counts of classes to which so many pixels are given, of which so many are right."""
    return np.stack([tp, size - tp, overlaps.total - tp])
