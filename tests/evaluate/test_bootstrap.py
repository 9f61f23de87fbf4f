import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from attnprobe.evaluate import Scores, mean_interval, score_draws
from attnprobe.evaluate.bootstrap import ends


def test_the_interval_is_scipy_s():
    rng = np.random.default_rng(0)
    for count in (5, 40, 700):
        values = rng.gamma(2, size=count)
        ours = mean_interval(values, resamples=40_000)
        theirs = stats.bootstrap(
            (values,), np.mean, n_resamples=40_000, method="percentile", rng=1, batch=1000
        ).confidence_interval
        error = values.std() / math.sqrt(count)
        assert ours == pytest.approx(tuple(theirs), abs=0.05 * error)


def test_the_interval_holds_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        low, high = mean_interval(rng.normal(3, 1, 50), level=0.9, resamples=500)
        held += low <= 3 <= high
    assert held / 400 == pytest.approx(0.9, abs=0.05)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.floats(-5, 5))
@settings(max_examples=30, deadline=None)
def test_the_interval_moves_and_turns_with_the_values(values, shift):
    values = np.array(values)
    low, high = mean_interval(values, resamples=200)
    assert values.min() - 1e-12 <= low <= high <= values.max() + 1e-12
    assert mean_interval(values + shift, resamples=200) == pytest.approx(
        (low + shift, high + shift)
    )
    assert mean_interval(-values, resamples=200) == pytest.approx((-high, -low))


def test_more_values_than_are_held_at_once_give_what_they_would():
    values = np.random.default_rng(0).normal(size=3_000_000)
    low, high = mean_interval(values, resamples=20)
    assert low < values.mean() < high
    assert all(math.isnan(end) for end in mean_interval(np.array([])))


def some_counts(images, classes, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 50, (images, 3, classes)) * rng.integers(0, 2, (images, 1, classes))
    return counts, counts[:, 0].sum(1) + counts[:, 2].sum(1)


def test_draws_of_a_dataset_s_scores_are_scipy_s():
    """SciPy draws image numbers, and each draw is scored by itself."""
    counts, valid = some_counts(40, 5)

    def score(drawn):
        scores = Scores.from_counts(counts[drawn].sum(0), int(valid[drawn].sum()))
        return scores.acc, scores.miou

    theirs = stats.bootstrap(
        (np.arange(40),), score, n_resamples=3000, vectorized=False, method="percentile", rng=1
    )
    draws = score_draws(counts, valid, resamples=20_000)
    for mine, low, high, error in zip(draws, *theirs.confidence_interval, theirs.standard_error,
                                      strict=True):  # fmt: skip
        assert ends(mine) == pytest.approx((low, high), abs=0.15 * error)


def test_draws_of_two_runs_are_of_the_same_images():
    counts, valid = some_counts(30, 4)
    one, other = score_draws(counts, valid), score_draws(counts, valid)
    assert all(map(np.array_equal, one, other))
    worse = counts.copy()
    worse[:, 2] += worse[:, 0] // 2
    worse[:, 0] -= worse[:, 0] // 2
    assert (score_draws(worse, valid)[0] < one[0]).all()


def test_one_image_has_no_width_and_void_ones_no_score():
    counts, valid = some_counts(1, 3)
    whole = Scores.from_counts(counts[0], int(valid[0]))
    acc, miou = score_draws(counts, valid, resamples=50)
    assert ends(acc) == (whole.acc, whole.acc)
    assert ends(miou) == pytest.approx((whole.miou, whole.miou))
    for draws in score_draws(np.zeros((4, 3, 2), int), np.zeros(4, int), resamples=50):
        assert all(map(math.isnan, ends(draws)))
