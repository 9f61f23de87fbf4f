"""The lines between regions as Berkeley's benchmark draws and matches them, pixel against pixel.

The definitions are those of the benchmark's own programs (Martin et al., PAMI 2004; Arbeláez et
al., PAMI 2011): `seg2bdry`, MATLAB's `bwmorph` and `correspondPixels`.
"""

from __future__ import annotations

import functools
import math

import numpy as np

OUTLIER = 100
"""What a pixel without a partner costs, in largest distances."""


def thin_lines(labels: np.ndarray) -> np.ndarray:
    """Where lines between regions run, one pixel wide: (H, W) bool.

    A pixel is on a line if among it and the three to its right, below it and between them two that
    touch by a side differ; the lines are then thinned until nothing changes.

    Args:
        labels: (H, W) whole numbers, −1 for void, on whose sides there is no line.
    """
    down, right = np.zeros((2, *labels.shape), bool)
    down[:-1] = _differ(labels[:-1], labels[1:])
    right[:, :-1] = _differ(labels[:, :-1], labels[:, 1:])
    lines = down | right
    lines[:-1] |= right[1:]
    lines[:, :-1] |= down[:, 1:]
    return thinned(lines)


def _differ(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one != other) & (one >= 0) & (other >= 0)


def thinned(lines: np.ndarray) -> np.ndarray:
    """Lines (H, W) bool, thinned until nothing changes (Guo and Hall 1989, as in Lam et al. 1992).

    Two passes take turns, which remove pixels from the south-east and from the north-west, unless
    that would break a line or shorten it.
    """
    lines = lines.copy()
    while True:
        before = np.count_nonzero(lines)
        for removable in _removable():
            lines &= ~removable[_neighbours(lines)]
        if np.count_nonzero(lines) == before:
            return lines


_AROUND = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
"""The eight neighbours: east, north-east, north, and so on round."""


def _neighbours(lines: np.ndarray) -> np.ndarray:
    """Which of its neighbours are set, at each pixel: bit i is the i-th of `_AROUND`."""
    height, width = lines.shape
    padded = np.pad(lines, 1).view(np.uint8)
    found = np.zeros(lines.shape, np.uint8)
    for bit, (y, x) in enumerate(_AROUND):
        found |= padded[1 + y : 1 + y + height, 1 + x : 1 + x + width] << bit
    return found


@functools.cache
def _removable() -> tuple[np.ndarray, np.ndarray]:
    """(256,) bool for each of the two passes: with which neighbours a pixel goes."""
    e, ne, n, nw, w, sw, s, se = np.arange(256) >> np.arange(8)[:, None] & 1
    crossings = (1 - e & (ne | n)) + (1 - n & (nw | w)) + (1 - w & (sw | s)) + (1 - s & (se | e))
    pairs = np.minimum(
        (e | ne) + (n | nw) + (w | sw) + (s | se), (ne | n) + (nw | w) + (sw | s) + (se | e)
    )
    simple = (crossings == 1) & (pairs >= 2) & (pairs <= 3)
    first = simple & ~((ne | n | 1 - se) & e).astype(bool)
    second = simple & ~((sw | s | 1 - nw) & w).astype(bool)
    return first, second


def matched(one: np.ndarray, other: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Give pixels of two line maps partners, one to one; which have one.

    Partners are at most `reach` apart. The sum of their distances is least, where a pixel without
    one costs `OUTLIER` times `reach`: as good as the most pairs, and of those the nearest. The
    benchmark's program seeks the same and finds it nearly, for it looks at a random part of the
    possible outliers. Where several matchings cost the same, which pixels have partners may
    depend on the one found; how many have does not.

    Args:
        one: (H, W) bool.
        other: (H, W) bool.
        reach: in pixels.

    Returns:
        Two masks (H, W), of the same number of pixels each.
    """
    from scipy.spatial import cKDTree

    points, others = np.argwhere(one), np.argwhere(other)
    found = np.zeros_like(one), np.zeros_like(other)
    if not (len(points) and len(others)):
        return found
    near = cKDTree(points).query_ball_tree(cKDTree(others), reach + 1e-6)
    row = np.repeat(np.arange(len(points)), [len(each) for each in near])
    column = np.array([j for each in near for j in each], int)
    squares = ((points[row] - others[column]) ** 2).sum(1)
    inside = squares <= reach**2
    row, column, distance = row[inside], column[inside], np.sqrt(squares[inside])
    chosen = _assigned(row, column, distance, OUTLIER * reach)
    for mask, places in zip(found, (points[row[chosen]], others[column[chosen]]), strict=True):
        mask[tuple(places.T)] = True
    return found


def _assigned(
    row: np.ndarray, column: np.ndarray, distance: np.ndarray, outlier: float
) -> np.ndarray:
    """Which of the pairs (row, column) are taken, (pairs,) bool."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    if not row.size:
        return np.zeros(0, bool)
    rows, row = np.unique(row, return_inverse=True)
    columns, column = np.unique(column, return_inverse=True)
    # Each row may also take a column of its own, instead of a partner that then lacks one too.
    # All costs are one more than they are, for a sparse array's zeros are no entries.
    own = np.arange(len(rows))
    costs = np.concatenate([distance, np.full(len(rows), 2 * outlier)]) + 1
    places = np.concatenate([row, own]), np.concatenate([column, len(columns) + own])
    graph = coo_array((costs, places), shape=(len(rows), len(columns) + len(rows))).tocsr()
    taken = np.empty(len(rows), int)
    where, partner = min_weight_full_bipartite_matching(graph)
    taken[where] = partner
    return taken[row] == column


def reach_of(size: tuple[int, int], tolerance: float) -> float:
    """Pixels for a tolerance that is a share of the diagonal of an image (H, W)."""
    return tolerance * math.hypot(*size)
