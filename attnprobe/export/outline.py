"""Outlines of masks, as polygons through the centres of their outermost pixels."""

from __future__ import annotations

import numpy as np

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Along the four sides of a pixel, clockwise: right, down, left, up."""
_STARTS = ((0, 0), (0, 1), (1, 1), (1, 0))
"""The corner of a pixel from which each side goes."""
_OUTSIDE = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""The neighbour beyond each side."""


def outlines(bits: np.ndarray) -> list[np.ndarray]:
    """The outline of each part of a mask (H, W): polygons (N, 2) of x and y, whole numbers.

    Parts hang together by sides. A polygon that is filled, its line included, is the part with its
    holes filled: a polygon can't say them.
    """
    sides = _sides(bits)
    found = []
    while sides:
        start = next(iter(sides))
        corners, pixels = [], []
        corner, side = start
        while (corner, side) in sides:
            pixels.append(sides.pop((corner, side)))
            corners.append(corner)
            corner = (corner[0] + _STEPS[side][0], corner[1] + _STEPS[side][1])
            # The first that is there of right, straight on and left keeps to the part.
            turns = [(side + turn) % 4 for turn in (1, 0, 3)]
            side = next((turn for turn in turns if (corner, turn) in sides), side)
        if _area(np.array(corners)) > 0:  # those of holes go the other way round
            found.append(_corners_of(np.array(pixels)[:, ::-1]))
    return found


def _sides(bits: np.ndarray) -> dict[tuple[tuple[int, int], int], tuple[int, int]]:
    """The sides between a mask and what is outside: from (corner, direction) to the pixel."""
    padded = np.pad(bits, 1)
    height, width = bits.shape
    sides = {}
    for side, (dy, dx) in enumerate(_OUTSIDE):
        beyond = padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        for y, x in np.argwhere(bits & ~beyond).tolist():
            corner = (y + _STARTS[side][0], x + _STARTS[side][1])
            sides[corner, side] = (y, x)
    return sides


def _area(corners: np.ndarray) -> int:
    """Twice the area within, positive if clockwise as seen."""
    y, x = corners.T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def _corners_of(points: np.ndarray) -> np.ndarray:
    """A closed path without the points that lie straight between their neighbours; at least 3."""
    moved = (points != np.roll(points, 1, 0)).any(1)
    points = points[moved] if moved.any() else points[:1]
    before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
    # Of neighbouring pixels: one step each, and the same one only if straight on.
    points = points[(before != after).any(1)] if len(points) > 2 else points
    return np.resize(points, (max(3, len(points)), 2))
