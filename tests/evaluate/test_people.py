"""Scores against several people: by hand, and as a second implementation has them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from attnprobe.errors import AttnProbeError
from attnprobe.evaluate import region_scores
from attnprobe.evaluate.lines import reach_of, thin_lines
from attnprobe.evaluate.people import people_scores
from tests.evaluate import benchmark

SIZE = (9, 12)
labels_of = arrays(np.int64, SIZE, elements=st.integers(0, 4))


def blocks(rng, size, most):
    """Random rectangles over each other: lines like those that people draw."""
    labels = np.zeros(size, int)
    for number in range(1, rng.integers(2, most)):
        top, left = (rng.integers(0, side) for side in size)
        labels[top : top + rng.integers(2, size[0]), left : left + rng.integers(2, size[1])] = (
            number
        )
    return labels


@given(labels_of, st.lists(labels_of, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_regions_are_those_of_a_second_implementation(segments, truths):
    found = people_scores(segments, truths)
    covered, pixels = benchmark.covering(segments, truths)
    assert found.covered == pytest.approx(covered, abs=1e-9)
    assert found.pixels == pixels
    assert found.covering == pytest.approx(covered / pixels, abs=1e-9)
    pri = np.mean([benchmark.rand_index(segments, truth) for truth in truths])
    vi = np.mean([benchmark.variation(segments, truth) for truth in truths])
    assert found.pri == pytest.approx(pri, abs=1e-9)
    assert found.vi == pytest.approx(vi, abs=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_lines_are_those_of_a_second_implementation(seed):
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(40, 90)), int(rng.integers(40, 90)))
    segments = blocks(rng, size, 9)
    truths = [blocks(rng, size, 9) for _ in range(4)]
    tolerance = float(rng.choice([0.0075, 0.02, 0.05]))
    found = people_scores(segments, truths, tolerance)
    reach = reach_of(size, tolerance)
    lines, drawn = thin_lines(segments), [thin_lines(truth) for truth in truths]
    pairs = [benchmark.pairs(lines, line, reach) for line in drawn]
    assert found.recalled == sum(pairs)
    assert found.drawn == sum(line.sum() for line in drawn)
    assert found.found == lines.sum()
    assert max(pairs) <= found.right <= min(sum(pairs), found.found)
    alone = people_scores(segments, truths[:1], tolerance)
    assert alone.right == alone.recalled == pairs[0]
    counts = (found.recalled, found.drawn, found.right, found.found)
    assert found.boundary_f == pytest.approx(benchmark.f_measure(*counts), abs=1e-12)


def test_by_hand():
    segments = np.zeros((4, 8), int)
    segments[:, 4:] = 1
    quarter = np.zeros((4, 8), int)
    quarter[:, 2:] = 1
    found = people_scores(segments, [segments, quarter])
    # Of the second person: 8 pixels, of which the left segment has all and 8 more: 1/2; 24 pixels,
    # 16 of them and no more in the right segment: 2/3.
    assert found.covered == pytest.approx(32 + 8 / 2 + 24 * 2 / 3)
    assert found.pixels == 64
    # Pairs of one pixel of columns 2 and 3 and one of another column are told apart by one alone.
    assert found.pri == pytest.approx((1 + (1 - 8 * 24 / (32 * 31 / 2))) / 2)
    joint = [8 / 32, 8 / 32, 16 / 32]
    h = -sum(p * math.log2(p) for p in joint)
    theirs = -sum(p * math.log2(p) for p in (8 / 32, 24 / 32))
    assert found.vi == pytest.approx((2 * h - 1 - theirs) / 2)
    # Lines in columns 3 and 1, of 4 pixels each, and a reach of less than one pixel.
    assert (found.found, found.drawn, found.recalled, found.right) == (4, 8, 4, 4)
    assert found.precision == 1
    assert found.boundary_f == pytest.approx(2 / 3)


def test_a_prediction_pixel_is_right_if_any_person_has_it():
    one, two, both = np.zeros((3, 40, 40), int)
    one[:, 20:] = two[20:] = both[:, 20:] = 1
    both[20:] += 2
    found = people_scores(both, [one, two])
    alone = [people_scores(both, [each]) for each in (one, two)]
    assert max(each.right for each in alone) < found.right <= sum(each.right for each in alone)
    assert found.precision > 0.95
    assert found.recalled == sum(each.recalled for each in alone)


def test_void_counts_nowhere():
    rng = np.random.default_rng(0)
    truth, segments = blocks(rng, (30, 30), 6), blocks(rng, (30, 30), 6)
    truth[:, 25:] = -1
    found = people_scores(segments, [truth])
    assert found.pixels == 30 * 25
    changed = segments.copy()
    changed[:, 25:] = 77
    assert people_scores(changed, [truth]) == found
    nothing = np.full_like(truth, -1)
    assert people_scores(segments, [truth, nothing]) == found
    empty = people_scores(segments, [nothing])
    assert (empty.pixels, empty.drawn, empty.found, empty.boundary_f) == (0, 0, 0, 0.0)
    assert math.isnan(empty.covering)
    assert math.isnan(empty.pri)


def test_covering_of_one_person_is_that_of_regions():
    rng = np.random.default_rng(1)
    truth, segments = blocks(rng, (30, 30), 6), blocks(rng, (30, 30), 6)
    segments[:3] = -1
    assert people_scores(segments, [truth]).covering == pytest.approx(
        region_scores(segments, truth).covering
    )


def test_equal_is_perfect():
    truth = blocks(np.random.default_rng(2), (30, 30), 6)
    found = people_scores(truth + 5, [truth] * 3)
    assert (found.covering, found.pri, found.vi, found.boundary_f) == (1, 1, 0, 1)


def test_bad_input_is_refused():
    labels = np.zeros((3, 3), int)
    with pytest.raises(AttnProbeError, match="at least one is needed"):
        people_scores(labels, [])
    with pytest.raises(AttnProbeError, match="must have the same shape"):
        people_scores(labels, [labels, labels[1:]])
