"""Every pixel takes the label that most of its neighbours have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge, Le
from pydantic import AfterValidator, Field

from attnprobe.fields import AnyField, Segmentation
from attnprobe.refine.segments import bands
from attnprobe.registry import refiner

if TYPE_CHECKING:
    from PIL.Image import Image


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("must be odd")
    return value


Window = Annotated[
    int, Ge(3), Le(999), AfterValidator(_odd), Field(json_schema_extra={"not": {"multipleOf": 2}})
]


@refiner("majority")
@dataclass(frozen=True)
class Majority:
    """Mode filter: each pixel takes the most frequent label of the square window around it.

    The mode filter (Davies 1988) on labels, at the picture's size. Of equally frequent labels the
    pixel's own stays if it is one, else the lowest is taken; the window ends at the edge.
    O(K·H·W) for K labels, whatever the window; works in bands, so memory is bounded.

    Args:
        window: side in pixels of the picture, odd.
    """

    window: Window = 5

    def __call__(
        self,
        segmentation: Segmentation,
        field: AnyField,
        *,
        rng: np.random.Generator | None = None,
        image: Image | None = None,
    ) -> Segmentation:
        """Labels of the picture's size, or without a picture of their own."""
        if image is not None:
            segmentation = segmentation.resized((image.height, image.width))
        labels = segmentation.labels
        smooth = np.empty_like(labels)
        radius = self.window // 2
        for rows, around in bands(labels.shape, margin=radius):
            inner = slice(rows.start - around.start, rows.stop - around.start)
            smooth[rows] = _mode(labels[around], radius, inner)
        return Segmentation(smooth, names=segmentation.names)


def _mode(labels: np.ndarray, radius: int, inner: slice) -> np.ndarray:
    """The most frequent label around each pixel of the rows `inner`."""
    own = labels[inner]
    mode, most = np.zeros_like(own), np.full(own.shape, -1)
    for label in np.unique(labels):
        across = _window_sum((labels == label).astype(np.int32), radius, 1)
        # A half more for the pixel's own label decides ties.
        count = 2 * _window_sum(across, radius, 0)[inner] + (own == label)
        better = count > most
        mode[better], most[better] = label, count[better]
    return mode


def _window_sum(values: np.ndarray, radius: int, axis: int) -> np.ndarray:
    """Sums over windows of 2·radius + 1 along an axis, cut off at its ends."""
    n = values.shape[axis]
    zero = np.zeros_like(values.take([0], axis))
    sums = np.concatenate([zero, values.cumsum(axis, dtype=np.int32)], axis)
    at = np.arange(n)
    last, first = np.minimum(at + radius + 1, n), np.maximum(at - radius, 0)
    return sums.take(last, axis) - sums.take(first, axis)
