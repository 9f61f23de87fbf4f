"""What segments are called, in which colour, and how large: for legends, and on the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from attnprobe.pictures.palette import ranked_by_area, segment_colours


@dataclass(frozen=True)
class LegendLine:
    """A segment in a legend.

    Args:
        number: its label.
        name: what it is called, or None.
        colour: that of overlays, such as "#0072b2".
        share: of the picture's pixels.
    """

    number: int
    name: str | None
    colour: str
    share: float


def legend(labels: np.ndarray, names: Mapping[int, str]) -> list[LegendLine]:
    """The segments there are, the largest first.

    Args:
        labels: (H, W) whole numbers, 0 or more.
        names: of labels, by number.
    """
    numbers, first, areas = np.unique(labels, return_index=True, return_counts=True)
    renumbered, rank = ranked_by_area(labels)
    ranks = rank[renumbered.ravel()[first] + 1]
    colours = segment_colours(ranks)
    return [
        LegendLine(
            int(numbers[i]),
            names.get(int(numbers[i])),
            f"#{bytes(colours[i]).hex()}",
            int(areas[i]) / labels.size,
        )
        for i in np.argsort(ranks)
    ]


_SIDE = 512
"""Labels are thinned out to at most this many a side to find where names have room."""


def write_names(picture: Image.Image, labels: np.ndarray, names: Mapping[int, str]) -> Image.Image:
    """A copy of the picture with each segment's name in it, where it has most room.

    White on a dark ground, a thirtieth of the longer side high and at least ten pixels.

    Args:
        picture: the overlay.
        labels: (H, W) at its size.
        names: of labels, by number; others stay without.
    """
    result = picture.copy()
    pen = ImageDraw.Draw(result)
    font = ImageFont.load_default(max(10, max(picture.size) // 30))
    for number, (x, y) in _places(labels, names).items():
        left, top, right, bottom = pen.textbbox((x, y), names[number], font, anchor="mm")
        dx = min(0, picture.width - 2 - right) or max(0, 2 - left)
        dy = min(0, picture.height - 2 - bottom) or max(0, 2 - top)
        box = (left + dx - 2, top + dy - 2, right + dx + 2, bottom + dy + 2)
        pen.rectangle(box, fill=(0, 0, 0))
        pen.text((x + dx, y + dy), names[number], (255, 255, 255), font, anchor="mm")
    return result


def _places(labels: np.ndarray, names: Mapping[int, str]) -> dict[int, tuple[int, int]]:
    """The pixel (x, y) of each named segment that is farthest from all others and the edge."""
    step = -(-max(labels.shape) // _SIDE)
    thin = np.pad(labels[::step, ::step], 1, constant_values=-1)
    inside = np.ones(thin.shape, bool)
    for axis in (0, 1):
        differs = np.diff(thin, axis=axis) != 0
        before, after = [[slice(None)] * 2 for _ in range(2)]
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        inside[tuple(before)] &= ~differs
        inside[tuple(after)] &= ~differs
    room = ndimage.distance_transform_edt(inside)
    there = np.intersect1d(np.unique(thin), list(names))
    found = ndimage.maximum_position(room, thin, there)
    height, width = labels.shape
    return {
        int(number): (min((int(x) - 1) * step, width - 1), min((int(y) - 1) * step, height - 1))
        for number, (y, x) in zip(there, found, strict=True)
    }
