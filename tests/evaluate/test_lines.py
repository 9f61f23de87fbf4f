"""Lines between regions: thin as MATLAB has them, matched as brute force does."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from attnprobe.evaluate.lines import OUTLIER, matched, reach_of, thin_lines, thinned


def by_definition(lines):
    """`bwmorph(lines, 'thin', inf)` as its documentation words it, pixel by pixel."""
    lines = lines.copy()
    while True:
        before = lines.copy()
        for second in (False, True):
            gone = [at for at in zip(*lines.nonzero(), strict=True) if goes(lines, *at, second)]
            for at in gone:
                lines[at] = False
        if np.array_equal(lines, before):
            return lines


def goes(lines, y, x, second):
    around = [(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)]
    inside = [
        (0 <= y + dy < lines.shape[0] and 0 <= x + dx < lines.shape[1]) and lines[y + dy, x + dx]
        for dy, dx in around
    ]
    p = {i + 1: bool(value) for i, value in enumerate(inside)} | {9: bool(inside[0])}
    g1 = sum(not p[2 * i - 1] and (p[2 * i] or p[2 * i + 1]) for i in range(1, 5)) == 1
    n1 = sum(p[2 * k - 1] or p[2 * k] for k in range(1, 5))
    n2 = sum(p[2 * k] or p[2 * k + 1] for k in range(1, 5))
    stays = {False: (p[2] or p[3] or not p[8]) and p[1], True: (p[6] or p[7] or not p[4]) and p[5]}
    return g1 and 2 <= min(n1, n2) <= 3 and not stays[second]


def seg2bdry(labels):
    """The benchmark's `seg2bdry(labels, 'imageSize')`, crack by crack on a grid of double size."""
    height, width = labels.shape
    grid = np.zeros((2 * height + 1, 2 * width + 1), bool)
    for y, x in np.ndindex(height - 1, width):
        grid[2 * y + 2, 2 * x + 1] = labels[y, x] != labels[y + 1, x]
    for y, x in np.ndindex(height, width - 1):
        grid[2 * y + 1, 2 * x + 2] = labels[y, x] != labels[y, x + 1]
    for y, x in np.ndindex(height - 1, width - 1):
        cross = 2 * y + 2, 2 * x + 2
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            grid[cross] |= grid[cross[0] + dy, cross[1] + dx]
    grid[-1], grid[:, -1] = grid[-2], grid[:, -2]
    return grid[2::2, 2::2]


labels_of = arrays(np.int64, st.tuples(st.integers(2, 9), st.integers(2, 9)),
                   elements=st.integers(0, 2))  # fmt: skip
lines_of = arrays(bool, (7, 8))


@given(lines_of)
@settings(max_examples=200, deadline=None)
def test_thinning_is_matlab_s(lines):
    assert np.array_equal(thinned(lines), by_definition(lines))


@given(labels_of)
@settings(max_examples=150, deadline=None)
def test_lines_are_the_benchmark_s(labels):
    assert np.array_equal(thin_lines(labels), by_definition(seg2bdry(labels)))


def test_a_straight_line_is_left_of_it_and_above():
    labels = np.zeros((6, 6), int)
    labels[:, 3:] = 1
    assert thin_lines(labels)[:, 2].all()
    assert thin_lines(labels).sum() == 6
    assert thin_lines(labels.T)[2].all()


def test_no_line_beside_void():
    labels = np.zeros((6, 6), int)
    labels[:, 3:] = 1
    labels[:, 2] = -1
    assert not thin_lines(labels).any()


def least(one, other, reach):
    """The cost of the best matching and its pairs, by trying every one."""
    ours, theirs = np.argwhere(one), np.argwhere(other)
    best = math.inf, 0
    for count in range(min(len(ours), len(theirs)) + 1):
        for some in itertools.combinations(range(len(ours)), count):
            for partners in itertools.permutations(range(len(theirs)), count):
                gaps = [math.dist(ours[i], theirs[j]) for i, j in zip(some, partners, strict=True)]
                if all(gap <= reach for gap in gaps):
                    alone = len(ours) + len(theirs) - 2 * count
                    best = min(best, (sum(gaps) + OUTLIER * reach * alone, -count))
    return best[0], -best[1]


def cost(one, other, found, reach):
    """The least cost of a matching of the chosen pixels, all of them."""
    total, pairs = least(*found, reach)
    assert pairs == found[0].sum() == found[1].sum()
    alone = one.sum() + other.sum() - 2 * pairs
    return total + OUTLIER * reach * alone


few = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=5, unique=True)


@given(few, few, st.sampled_from([1.0, math.sqrt(2), 2.0, 2.5, 4.0]))
@settings(max_examples=150, deadline=None)
def test_matching_is_the_best_of_all(ours, theirs, reach):
    one, other = np.zeros((2, 5, 5), bool)
    for line, places in ((one, ours), (other, theirs)):
        for place in places:
            line[place] = True
    found = matched(one, other, reach)
    assert not (found[0] & ~one).any()
    assert not (found[1] & ~other).any()
    wanted, pairs = least(one, other, reach)
    assert found[0].sum() == found[1].sum() == pairs
    assert cost(one, other, found, reach) == pytest.approx(wanted, abs=1e-9)


def test_one_to_one():
    one, other = np.zeros((2, 3, 9), bool)
    one[1, :] = True
    other[1, 4] = True
    found = matched(one, other, 3)
    assert found[0].sum() == found[1].sum() == 1
    assert found[0][1, 4]  # the nearest


def test_the_reach_itself_is_within():
    one, other = np.zeros((2, 10, 10), bool)
    one[0, 0] = other[3, 4] = True
    assert matched(one, other, 5.0)[0].any()
    assert not matched(one, other, 4.999)[0].any()
    assert reach_of((321, 481), 0.0075) == pytest.approx(4.3371, abs=1e-4)
