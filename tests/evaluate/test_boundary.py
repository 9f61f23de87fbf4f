import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe.errors import AttnProbeError
from attnprobe.evaluate import boundary_f
from tests.evaluate.cases import small_cases


def line(labels, truth):
    """Boundary pixels, by looking at each and its two neighbours."""
    found = []
    for y, x in np.ndindex(*labels.shape):
        for other in ((y + 1, x), (y, x + 1)):
            inside = other[0] < labels.shape[0] and other[1] < labels.shape[1]
            if inside and truth[y, x] >= 0 <= truth[other] and labels[y, x] != labels[other]:
                found.append((y, x))
                break
    return found


def brute(prediction, truth, tolerance):
    """All pairs of boundary pixels."""
    if not (truth >= 0).any():
        return math.nan
    ours, true = line(prediction, truth), line(truth, truth)
    if not ours or not true:
        return float(not ours and not true)
    reach = tolerance * math.hypot(*truth.shape)
    near = [[math.dist(a, b) <= reach for b in true] for a in ours]
    precision, recall = np.mean(np.any(near, 1)), np.mean(np.any(near, 0))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@settings(max_examples=300, deadline=None)
@given(small_cases(), st.sampled_from([0.0075, 0.2, 0.31, 0.5]))
def test_small_images_against_brute_force(case, tolerance):
    _, ((prediction, truth),) = case
    expected = brute(prediction, truth, tolerance)
    assert boundary_f(prediction, truth, tolerance) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("seed", range(3))
def test_a_picture_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(-1, 4, (4, 5)), np.ones((10, 10), int))
    prediction = np.roll(np.kron(rng.integers(0, 5, (4, 5)), np.ones((10, 10), int)), seed, 0)
    for tolerance in (0.0075, 0.05):
        assert boundary_f(prediction, truth, tolerance) == brute(prediction, truth, tolerance)


def test_a_line_moved_by_less_than_the_tolerance_is_right():
    """0.0075 of the diagonal of 512² are 5.4 pixels."""
    truth = np.repeat([0, 1], 256)[None].repeat(512, 0)
    for shift, expected in ((5, 1), (6, 0)):
        prediction = np.repeat([0, 1], [256 + shift, 256 - shift])[None].repeat(512, 0)
        assert boundary_f(prediction, truth) == expected


def test_bad_images():
    with pytest.raises(AttnProbeError, match="same shape"):
        boundary_f(np.zeros((2, 2), int), np.zeros((2, 3), int))
