import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from attnprobe.evaluate import RegionMetric, Regions, region_scores
from tests.evaluate.cases import small_cases


def brute_covering(prediction, truth):
    """By sets of pixels, valid ones alone."""
    covered = valid = 0
    for label in set(truth[truth >= 0].tolist()):
        region = {*np.flatnonzero(truth == label)}
        best = 0
        for segment in set(prediction[prediction >= 0].tolist()):
            pixels = {*np.flatnonzero((prediction == segment) & (truth >= 0))}
            best = max(best, len(region & pixels) / len(region | pixels))
        covered, valid = covered + len(region) * best, valid + len(region)
    return covered / valid


@settings(max_examples=400, deadline=None)
@given(small_cases())
def test_against_scikit_learn_and_brute_force(case):
    _, ((prediction, truth),) = case
    found = region_scores(prediction, truth)
    valid = truth >= 0
    assert found.segments == len(set(prediction.ravel()) - {-1})
    assert found.true_segments == len(set(truth.ravel()) - {-1})
    if valid.any():
        pair = truth[valid], prediction[valid]
        assert found.ari == pytest.approx(adjusted_rand_score(*pair), abs=1e-12)
        assert found.nmi == pytest.approx(normalized_mutual_info_score(*pair), abs=1e-9)
        assert found.covering == pytest.approx(brute_covering(prediction, truth), abs=1e-12)
    else:
        assert all(map(math.isnan, (found.ari, found.nmi, found.boundary_f, found.covering)))


@pytest.mark.parametrize("shape", [(300, 400), (64, 64)])
def test_large_images_against_scikit_learn(shape):
    rng = np.random.default_rng(0)
    truth = rng.integers(-1, 30, shape)
    prediction = np.where(rng.random(shape) < 0.6, truth, rng.integers(0, 50, shape)) * 10**7
    prediction = np.maximum(prediction, -1)
    valid = truth >= 0
    found = region_scores(prediction, truth)
    pair = truth[valid], prediction[valid]
    assert found.ari == pytest.approx(adjusted_rand_score(*pair), abs=1e-12)
    assert found.nmi == pytest.approx(normalized_mutual_info_score(*pair), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(small_cases(), st.permutations([40, 3, 77, 10**9]))
def test_what_segments_and_regions_are_called_changes_nothing(case, numbers):
    _, ((prediction, truth),) = case
    names = np.array([*numbers, -1])
    renamed = names[np.minimum(prediction, 3)]
    same = region_scores(np.minimum(prediction, 3), truth)
    other = region_scores(renamed, names[truth])
    for name in ("ari", "nmi", "boundary_f", "covering", "segments", "true_segments"):
        assert getattr(same, name) == pytest.approx(getattr(other, name), abs=1e-12, nan_ok=True)


def test_the_right_segments_score_one():
    truth = np.kron(np.arange(6).reshape(2, 3), np.ones((4, 4), int))
    found = region_scores(truth * 9 + 2, truth)
    assert found == Regions(1, pytest.approx(1), 1, 1, 6, 6)


def test_one_segment_for_all_by_hand():
    truth = np.repeat([0, 1], [3, 1])[None]
    found = region_scores(np.zeros((1, 4), int), truth)
    assert (found.ari, found.nmi, found.boundary_f) == (0, 0, 0)
    assert found.covering == (3 * 3 / 4 + 1 * 1 / 4) / 4


def test_means_leave_out_what_is_not_there():
    score = RegionMetric()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(score.compute().ari)
        score.update(np.zeros((2, 2), int), np.full((2, 2), -1))
        assert math.isnan(score.compute().ari)
        score.update(np.array([[0, 1]]), np.array([[0, 1]]))
        score.update(np.array([[0, 0]]), np.array([[0, 1]]))
    found = score.compute()
    assert (found.ari, found.covering) == (0.5, 0.75)
    assert (found.segments, found.true_segments) == (4 / 3, 4 / 3)
