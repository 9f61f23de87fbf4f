import tracemalloc
import warnings
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from attnprobe.errors import AttnProbeError
from attnprobe.evaluate import (
    ForegroundMetric,
    HungarianMetric,
    MajorityMetric,
    image_scores,
    region_scores,
)
from tests.golden.fields import load


def scored(classes, *images):
    score = HungarianMetric(classes)
    for prediction, truth in images:
        score.update(prediction, truth)
    return score.compute()


def same(one, other):
    """Equal to the last digit."""
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True)
        for name in ("acc", "miou", "iou", "tp", "fp", "fn", "valid")
    )


def literal_counts(prediction, truth, classes):
    """Tian et al.'s counts, pixel by pixel, with a column for every number there could be."""
    histogram = np.zeros((classes, max(classes, prediction.max() + 1)), int)
    for segment, label in zip(prediction.ravel(), truth.ravel(), strict=True):
        if label >= 0:
            histogram[label, segment] += 1
    rows, columns = linear_sum_assignment(histogram, maximize=True)
    tp = histogram[rows, columns]
    return tp, histogram[:, columns].sum(0) - tp, histogram.sum(1) - tp, histogram


# The released program.


@pytest.mark.parametrize("i", [0, 1])
def test_golden(i):
    golden = load("evaluation")
    images = zip(golden[f"pred{i}"], golden[f"label{i}"], strict=True)
    scores = scored(int(golden[f"n_class{i}"]), *images)
    for name in ("tp", "fp", "fn", "valid"):
        assert np.array_equal(getattr(scores, name), golden[f"{name}{i}"])
    assert scores.acc == pytest.approx(golden[f"acc{i}"], abs=1e-9)
    assert scores.miou == pytest.approx(golden[f"miou{i}"], abs=1e-9)


# Against references.


def images(classes, most):
    """A prediction with few numbers, gaps and many ties, and a truth with void."""
    shape = st.tuples(st.integers(1, 4), st.integers(1, 5))
    return shape.flatmap(
        lambda shape: st.tuples(
            st.lists(st.integers(0, most), min_size=1, max_size=7).flatmap(
                lambda numbers: arrays(np.int64, shape, elements=st.sampled_from(numbers))
            ),
            arrays(np.int64, shape, elements=st.integers(-1, classes - 1)),
        )
    )


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 4).flatmap(lambda c: st.tuples(st.just(c), images(c, 5))))
def test_the_matching_is_the_best_of_all(case):
    classes, (prediction, truth) = case
    scores = scored(classes, (prediction, truth))
    tp, fp, fn, histogram = literal_counts(prediction, truth, classes)
    columns = permutations(range(histogram.shape[1]), classes)
    best = max(histogram[range(classes), list(chosen)].sum() for chosen in columns)
    assert scores.tp.sum() == best
    assert [*map(list, (scores.tp, scores.fp, scores.fn))] == [*map(list, (tp, fp, fn))]
    assert scores.valid == (truth >= 0).sum()
    assert (scores.tp + scores.fn == [(truth == c).sum() for c in range(classes)]).all()


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 9).flatmap(lambda c: st.tuples(st.just(c), images(c, 60))),
    st.lists(st.integers(61, 5000), max_size=3),
)
def test_large_numbers_score_as_with_a_column_for_each(case, large):
    """Columns of numbers that don't occur decide ties, so leaving some out must change nothing."""
    classes, (prediction, truth) = case
    for place, number in enumerate([*large, 5001]):
        prediction.flat[place % prediction.size] = number
    scores = scored(classes, (prediction, truth))
    tp, fp, fn, _ = literal_counts(prediction, truth, classes)
    assert [*map(list, (scores.tp, scores.fp, scores.fn))] == [*map(list, (tp, fp, fn))]


@pytest.mark.parametrize("seed", range(5))
def test_large_numbers_and_many_segments_score_so_too(seed):
    rng = np.random.default_rng(seed)
    classes = 27
    numbers = np.append(rng.choice(4500, 40, replace=False), 4600)
    prediction = rng.choice(numbers, (24, 24))
    prediction[0, 0] = 4600
    truth = rng.choice(rng.choice(classes, 6), (24, 24))
    scores = scored(classes, (prediction, truth))
    tp, fp, fn, _ = literal_counts(prediction, truth, classes)
    assert [*map(list, (scores.tp, scores.fp, scores.fn))] == [*map(list, (tp, fp, fn))]


@pytest.mark.parametrize("number", [10**6, 2**31 - 1, 2**62])
def test_a_large_number_takes_no_memory(number):
    prediction = np.zeros((100, 100), np.int64)
    prediction[:50] = number
    truth = np.repeat([0, 1], 5000).reshape(100, 100)
    tracemalloc.start()
    scores = scored(27, (prediction, truth))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert scores.acc == 1
    assert peak < 4e6


# Streaming.


def test_scores_so_far_are_not_changed_by_later_images():
    score = HungarianMetric(2)
    score.update(np.array([[0, 1]]), np.array([[0, 1]]))
    scores = score.compute()
    score.update(np.array([[0, 0]]), np.array([[0, 1]]))
    assert scores.tp.tolist() == [1, 1]
    assert score.compute().acc == 0.75


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (HungarianMetric(3), HungarianMetric(4)),
        (HungarianMetric(3), HungarianMetric(3, "per-dataset")),
        (HungarianMetric(3), MajorityMetric(3)),
        (ForegroundMetric(3, 0), ForegroundMetric(3, 1)),
    ],
)
def test_scores_of_different_settings_do_not_merge(one, other):
    with pytest.raises(AttnProbeError, match="merge: both scores must have the same settings"):
        one.merge(other)


@settings(max_examples=100, deadline=None)
@given(st.lists(images(3, 6), min_size=1, max_size=4), st.sampled_from([1, 7000, 2**40]))
def test_a_matching_for_all_images_is_that_of_the_images_laid_side_by_side(cases, stride):
    """Large numbers, most of which don't occur, change neither the scores nor the ties."""
    score = HungarianMetric(3, "per-dataset")
    for prediction, truth in cases:
        score.update(prediction * stride, truth)
    prediction, truth = (
        np.concatenate([case[part].ravel() for case in cases])[None] for part in (0, 1)
    )
    assert same(score.compute(), scored(3, (prediction * stride, truth)))


# Values worked out by hand.


def test_by_hand():
    """Segment 5 covers class 0 and spills on class 1; segment 2 has the rest of it; one void."""
    prediction = np.array([[5, 5, 5, 5], [2, 2, 2, 5]])
    truth = np.array([[0, 0, 0, 1], [1, 1, 1, -1]])
    scores = scored(3, (prediction, truth))
    assert (scores.tp.tolist(), scores.fn.tolist()) == ([3, 3, 0], [0, 1, 0])
    assert scores.fp.tolist() == [1, 0, 0]
    assert scores.valid == 7
    assert scores.acc == 6 / 7
    assert scores.iou[:2].tolist() == [3 / 4, 3 / 4]
    assert np.isnan(scores.iou[2])
    assert scores.miou == 3 / 4


def test_nothing_valid_is_no_score_and_no_warning():
    void = np.full((2, 2), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scores in (
            scored(3),
            scored(3, (np.zeros((2, 2), int), void)),
            image_scores(np.zeros((2, 2), int), void),
        ):
            assert np.isnan([scores.acc, scores.miou, *scores.iou]).all()
            assert scores.valid == 0


# One image with its own objects.


@settings(max_examples=60, deadline=None)
@given(images(4, 8), st.permutations([0, 3, 77, 10**9]))
def test_an_image_by_itself(case, numbers):
    """The objects are the labels that occur, whatever their numbers."""
    prediction, truth = case
    occurring = sorted({numbers[label] for label in truth[truth >= 0]})
    renumbered = np.where(truth >= 0, np.array(numbers)[truth], -1)
    scores = image_scores(prediction, renumbered)
    assert len(scores.tp) == len(occurring)
    if occurring:
        ordinal = np.array([[occurring.index(n) if n >= 0 else -1 for n in r] for r in renumbered])
        assert same(scores, scored(len(occurring), (prediction, ordinal)))


@settings(max_examples=30, deadline=None)
@given(images(6, 8), st.permutations(range(40, 47)))
def test_the_right_segments_score_one_whatever_they_are_called(case, numbers):
    _, truth = case
    prediction = np.array(numbers)[truth]
    if (truth >= 0).any():
        scores = image_scores(prediction, truth)
        assert (scores.acc, scores.miou) == (1, 1)


# Bad input, and what is taken as good.


@pytest.mark.parametrize(
    ("prediction", "truth", "sentence"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"same shape. Got \(2, 3\) and \(3, 2\)"),
        (np.zeros((2, 2)), np.zeros((2, 2), int), r"prediction: .* Got float64 of shape \(2, 2\)"),
        (np.zeros((2, 2), int), np.zeros((2, 2), bool), r"truth: .* Got bool of shape"),
        (np.zeros(4, int), np.zeros(4, int), r"prediction: .*\(H, W\)"),
        (np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int), r"prediction: .*\(H, W\)"),
        (np.zeros((0, 2), int), np.zeros((0, 2), int), r"prediction: .*\(0, 2\)"),
        (
            np.full((2, 2), -2),
            np.zeros((2, 2), int),
            "prediction: labels must be −1 or more. Got -2",
        ),
        (np.zeros((2, 2), int), np.full((2, 2), -2), "truth: labels must be −1 or more. Got -2"),
    ],
)
@pytest.mark.parametrize("score", [image_scores, HungarianMetric(3).update])
def test_bad_images(score, prediction, truth, sentence):
    with pytest.raises(AttnProbeError, match=sentence) as caught:
        score(prediction, truth)
    assert "\n" not in str(caught.value)


def test_classes_out_of_range_leave_the_score_as_it_was():
    score = HungarianMetric(3)
    with pytest.raises(AttnProbeError, match=r"from 0 to 2, or −1 for void. Got 255 instead"):
        score.update(np.zeros((1, 2), int), np.array([[0, 255]], np.uint8))
    assert score.compute().valid == 0


@pytest.mark.parametrize("classes", [0, -1])
def test_bad_number_of_classes(classes):
    with pytest.raises(AttnProbeError, match=rf"classes: must be at least 1. Got {classes}"):
        HungarianMetric(classes)


def test_bad_match():
    with pytest.raises(AttnProbeError, match=r"must be per-image or per-dataset\. Got 'dataset'"):
        HungarianMetric(3, match="dataset")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64])
def test_every_type_of_whole_number(dtype):
    """255 classes and 255 segments: products beyond the type's range."""
    truth = np.arange(255).repeat(2).reshape(15, 34)
    scores = scored(255, (truth[::-1].astype(dtype), truth[::-1].astype(dtype)))
    assert (scores.acc, scores.miou) == (1, 1)
    assert image_scores(truth.astype(dtype), truth.astype(dtype)).miou == 1


@pytest.mark.parametrize("number", [2**31, 2**40, 2**62])
def test_large_numbers_are_segments_as_any_other(number):
    """None wraps round to another number, and none costs memory."""
    truth = np.array([[0, 0, 1, 1], [2, 2, 2, -1]])
    small = np.array([[0, 0, 1, 1], [2, 2, -1, 1]])
    large = np.where(small == 2, number, small)
    counts = image_scores(small, truth).counts.tolist()
    assert image_scores(large, truth).counts.tolist() == counts
    assert image_scores(small, np.where(truth == 2, number, truth)).counts.tolist() == counts
    assert region_scores(large, truth) == region_scores(small, truth)
    for match in ("per-image", "per-dataset"):
        scores = []
        for prediction in (small, large):
            score = HungarianMetric(3, match)
            score.update(prediction, truth)
            scores.append(score.compute().counts.tolist())
        assert scores[0] == scores[1]


@pytest.mark.parametrize("number", [2**62 + 1, 2**64 - 1])
def test_numbers_too_large_are_refused(number):
    labels = np.array([[0, number]], np.uint64)
    with pytest.raises(AttnProbeError, match=rf"labels must be at most .* Got {number}"):
        image_scores(labels, np.zeros((1, 2), int))
