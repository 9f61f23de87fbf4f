"""Every matching against a reference that goes pixel by pixel, on 1,000 small images, or 40,000."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe.evaluate import ForegroundMetric, HungarianMetric, MajorityMetric, OverlapMetric
from tests.damage import examples
from tests.evaluate.cases import (
    best_matchings,
    counts,
    foreground_counts,
    histogram,
    majority_counts,
    overlap_counts,
    small_cases,
    totals,
)


def found(score, images):
    """The counts of a score, checked to be whole and to have every valid pixel."""
    for prediction, truth in images:
        score.update(prediction, truth)
    scores = score.compute()
    assert scores.valid == sum((truth >= 0).sum() for _, truth in images)
    assert (scores.tp + scores.fn == totals(images, score.classes)).all()
    assert scores.counts.dtype == np.int64
    return tuple(tuple(part) for part in scores.counts.tolist())


@settings(max_examples=examples(250), deadline=None)
@given(small_cases())
def test_one_to_one_is_the_best_of_all_matchings(case):
    classes, images = case
    table, total = histogram(images, classes), totals(images, classes)
    allowed = {counts(table, total, column) for column in best_matchings(table)}
    assert found(HungarianMetric(classes), images) in allowed


@settings(max_examples=examples(150), deadline=None)
@given(small_cases(most_classes=3, images=3))
def test_per_dataset_is_the_best_of_all_matchings_of_the_sum(case):
    classes, images = case
    table, total = histogram(images, classes), totals(images, classes)
    allowed = {counts(table, total, column) for column in best_matchings(table)}
    assert found(HungarianMetric(classes, "per-dataset"), images) in allowed


@settings(max_examples=examples(200), deadline=None)
@given(small_cases())
def test_majority(case):
    classes, images = case
    expected = majority_counts(*images[0], classes)
    assert found(MajorityMetric(classes), images) == expected


@settings(max_examples=examples(200), deadline=None)
@given(small_cases())
def test_best_overlap(case):
    classes, images = case
    expected = overlap_counts(*images[0], classes)
    assert found(OverlapMetric(classes), images) == expected


@settings(max_examples=examples(200), deadline=None)
@given(small_cases(), st.integers(0, 3))
def test_foreground_first_and_the_rest_is_background(case, background):
    classes, images = case
    background %= classes
    expected = foreground_counts(*images[0], classes, background)
    assert found(ForegroundMetric(classes, background), images) == expected


TRUTH = np.array([[0, 0, 0, 1, 1, 1, 2, -1]])
SEGMENTS = np.array([[4, 4, 0, 0, 1, 1, 1, 1]])


@pytest.mark.parametrize(
    ("score", "tp", "fp"),
    [
        # Segment 4 is class 0 and 1 is class 1; 2 doesn't get 0, where it has nothing right.
        (HungarianMetric(3), [2, 2, 0], [0, 1, 2]),
        # 0 goes to the first of its two classes.
        (MajorityMetric(3), [3, 2, 0], [1, 1, 0]),
        # Class 2 takes 1 as class 1 does.
        (OverlapMetric(3), [2, 2, 1], [0, 1, 2]),
    ],
)
def test_by_hand(score, tp, fp):
    score.update(SEGMENTS, TRUTH)
    scores = score.compute()
    assert (scores.tp.tolist(), scores.fp.tolist(), scores.valid) == (tp, fp, 7)
    assert scores.fn.tolist() == [3 - tp[0], 3 - tp[1], 1 - tp[2]]


def test_all_that_no_class_takes_is_background():
    """1 and 2 are the classes 0 and 1; 4 and 0 together are the background, class 2."""
    score = ForegroundMetric(3, 2)
    score.update(np.array([[4, 4, 0, 0, 1, 1, 2, 2]]), np.array([[2, 2, 2, 0, 0, 0, 1, -1]]))
    assert score.compute().counts.tolist() == [[2, 1, 3], [0, 0, 1], [1, 0, 0]]


def test_what_is_unassigned_is_missed_by_every_score():
    truth = np.array([[0, 0, 1, 1]])
    prediction = np.array([[7, -1, 3, -1]])
    for score in (HungarianMetric(2), HungarianMetric(2, "per-dataset"), MajorityMetric(2),
                  OverlapMetric(2), ForegroundMetric(2, 0)):  # fmt: skip
        score.update(prediction, truth)
        scores = score.compute()
        assert scores.counts.tolist() == [[1, 1], [0, 0], [1, 1]]
        assert (scores.acc, scores.valid) == (0.5, 4)
        score.update(np.full((1, 4), -1), truth)
        assert score.compute().counts.tolist() == [[1, 1], [0, 0], [3, 3]]
