"""Small images for the tests of scores, and counts worked out without the code under test."""

from collections import Counter
from fractions import Fraction
from functools import cache
from itertools import permutations

import numpy as np
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

NUMBERS = [-1, 0, 0, 1, 1, 2, 3, 5]
"""Of segments: some unassigned, some often, gaps."""


@st.composite
def small_cases(draw, most_classes=4, images=1):
    """A number of classes and images of few pixels with many ties: predictions and truths."""
    classes = draw(st.integers(1, most_classes))
    found = []
    for _ in range(images):
        height, width = draw(st.integers(1, 4)), draw(st.integers(1, 5))
        count = 2 * height * width
        pixels = np.frombuffer(draw(st.binary(min_size=count, max_size=count)), np.uint8)
        pixels = pixels.reshape(2, height, width)
        prediction = np.array(NUMBERS)[pixels[0] % len(NUMBERS)]
        found.append((prediction, pixels[1].astype(int) % (classes + 1) - 1))
    return classes, found


def histogram(images, classes):
    """Pixels by class and segment, with a column for each number and at least one a class."""
    most = max(int(prediction.max()) for prediction, _ in images)
    table = np.zeros((classes, max(classes, most + 1)), int)
    for prediction, truth in images:
        inside = (truth >= 0) & (prediction >= 0)
        np.add.at(table, (truth[inside], prediction[inside]), 1)
    return table


def totals(images, classes):
    """Valid pixels of each class."""
    return [sum(int((truth == c).sum()) for _, truth in images) for c in range(classes)]


def counts(table, total, column):
    """tp, fp and fn where class i has the column given."""
    tp = [table[i, c] for i, c in enumerate(column)]
    fp = [table[:, c].sum() - t for c, t in zip(column, tp, strict=True)]
    return tuple(map(tuple, (tp, fp, [n - t for n, t in zip(total, tp, strict=True)])))


def best_matchings(table):
    """Every one-to-one choice of columns in which the most pixels agree."""
    chosen = _choices(table.shape[1], len(table))
    right = table[np.arange(len(table)), chosen].sum(1)
    return chosen[right == right.max()]


@cache
def _choices(columns, classes):
    return np.array(list(permutations(range(columns), classes)))


def majority_counts(prediction, truth, classes):
    """Pixel by pixel, each segment called by its most frequent class, the first of equals."""
    called = {}
    for segment in set(prediction.ravel()) - {-1}:
        inside = Counter(truth[prediction == segment].tolist())
        called[segment] = max(range(classes), key=lambda c: (inside[c], -c))
    named = np.array([called.get(s, -1) for s in prediction.ravel()]).reshape(truth.shape)
    return named_counts(named, truth, classes)


def named_counts(named, truth, classes):
    """tp, fp and fn of a prediction that says classes."""
    valid = truth >= 0
    pairs = [(valid & (named == c), truth == c) for c in range(classes)]
    return tuple(
        tuple(int(part.sum()) for part in parts)
        for parts in (
            [said & true for said, true in pairs],
            [said & ~true for said, true in pairs],
            [true & ~said for said, true in pairs],
        )
    )


def overlap_counts(prediction, truth, classes):
    """Each class against the segment of best IoU as sets of pixels, the first of equals."""
    found = []
    for label in range(classes):
        region = {*np.flatnonzero(truth == label)}
        best, taken = Fraction(0), set()
        for segment in sorted(set(prediction.ravel()) - {-1}):
            pixels = {*np.flatnonzero((prediction == segment) & (truth >= 0))}
            iou = Fraction(len(region & pixels), len(region | pixels) or 1)
            if iou > best:
                best, taken = iou, pixels
        found.append((len(region & taken), len(taken - region), len(region - taken)))
    return tuple(zip(*found, strict=True))


def foreground_counts(prediction, truth, classes, background):
    """DiffCut's steps on the pixels themselves, with SciPy's own choice among equals."""
    order = [c for c in range(classes) if c != background] + [background]
    truth = np.array([*(order.index(c) for c in range(classes)), -1])[truth]
    things = [(prediction, np.where(truth == classes - 1, -1, truth))]
    table = histogram(things, classes - 1)
    column = linear_sum_assignment(table, maximize=True)[1]
    taken = {c for i, c in enumerate(column) if table[i, column].any()}
    merged = prediction.copy()
    rest = [s for s in set(prediction[truth >= 0].tolist()) - {-1} if s not in taken]
    merged[np.isin(prediction, rest)] = max(0, prediction.max()) + 1
    images = [(merged, truth)]
    table = histogram(images, classes)
    column = linear_sum_assignment(table, maximize=True)[1]
    found = counts(table, totals(images, classes), column)
    return tuple(tuple(part[order.index(c)] for c in range(classes)) for part in found)
