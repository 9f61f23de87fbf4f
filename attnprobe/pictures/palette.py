"""Colours that are easy to tell apart: a few for every eye, many as far apart as can be."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike

from attnprobe.errors import AttnProbeError

#: Okabe and Ito's colours, told apart in every form of colour blindness, neighbours well so.
OKABE_ITO = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
)

COLOURS = 256
"""How many colours there are before they repeat."""


@functools.cache
def palette() -> np.ndarray:
    """The colours (256, 3), uint8, read-only: Okabe and Ito's seven, then the farthest from all.

    Each colour after the seventh is the one whose distance in OKLab to its nearest predecessor is
    greatest, among those that are neither grey nor dark nor pale.
    """
    levels = np.arange(0, 256, 15)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lab = oklab(candidates)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    fit = (lab[:, 0] > 0.45) & (lab[:, 0] < 0.88) & (chroma > 0.05)
    candidates, lab = candidates[fit], lab[fit]
    chosen = list(OKABE_ITO)
    distance = np.full(len(lab), np.inf)
    for i in range(COLOURS):
        if i == len(chosen):
            chosen.append(tuple(candidates[distance.argmax()]))
        distance = np.minimum(distance, np.linalg.norm(lab - oklab(chosen[i]), axis=1))
    colours = np.array(chosen, np.uint8)
    colours.setflags(write=False)
    return colours


def ranked_by_area(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which segment is the largest, the second, and so on: the rank that gives it its colour.

    Ranked so, colours depend on the segments and not on their numbers, but for equal areas, where
    the lower number comes first.

    Args:
        labels: (H, W) whole numbers, −1 for void.

    Returns:
        The labels as int32, renumbered if they were very large, and an array of ranks by label + 1:
        0 for the largest segment, and −1 for void.

    Raises:
        AttnProbeError: the labels aren't whole numbers, or one is below −1.
    """
    if labels.dtype.kind not in "iu" or labels.min() < -1:
        got = labels.min() if labels.dtype.kind in "iu" else labels.dtype
        raise AttnProbeError(
            f"labels must be whole numbers of 0 or more, or −1 for void. Got {got} instead."
        )
    if labels.max() >= _LARGE:
        numbers, places = np.unique(labels, return_inverse=True)
        labels = places.reshape(labels.shape) - int(numbers[0] < 0)
    labels = labels.astype(np.int32, copy=False)
    area = np.zeros(int(labels.max()) + 2, np.int64)
    for row in labels:
        np.add.at(area, row + 1, 1)
    rank = np.empty_like(area)
    rank[0] = -1
    rank[1 + np.argsort(-area[1:], kind="stable")] = np.arange(len(area) - 1)
    return labels, rank


_LARGE = 1 << 20


def segment_colours(rank: np.ndarray) -> np.ndarray:
    """The colours (N, 3) of segments by rank, black for void; they repeat after `COLOURS`."""
    return np.where(rank[:, None] < 0, 0, palette()[rank % COLOURS]).astype(np.uint8)


def oklab(rgb: ArrayLike) -> np.ndarray:
    """sRGB of 0 to 255 (…, 3) in OKLab (Ottosson 2020), where distance is difference to the eye."""
    value = np.asarray(rgb) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _LINEAR_TO_CONES.T) @ _CONES_TO_LAB.T


_LINEAR_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_CONES_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
