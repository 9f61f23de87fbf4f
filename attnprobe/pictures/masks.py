"""Segments as masks: where each is, how large, and how COCO writes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects


@dataclass(frozen=True, eq=False)
class Mask:
    """A segment.

    Args:
        number: its label.
        bits: (H, W) bool.
        box: left, top, width and height.
    """

    number: int
    bits: np.ndarray
    box: tuple[int, int, int, int]

    @property
    def area(self) -> int:
        """Pixels."""
        return int(self.bits.sum())

    def annotation(self) -> dict[str, object]:
        """COCO's fields of a mask: run lengths, area and box."""
        size = [int(side) for side in self.bits.shape]
        counts = compressed(run_lengths(self.bits))
        segmentation = {"size": size, "counts": counts}
        return {"segmentation": segmentation, "area": self.area, "bbox": list(self.box)}


def masks_of(labels: np.ndarray) -> Iterator[Mask]:
    """The segments of labels (H, W), by number."""
    numbers, places = np.unique(labels, return_inverse=True)
    places = places.reshape(labels.shape) + 1
    for index, (y, x) in enumerate(find_objects(places)):
        box = (int(x.start), int(y.start), int(x.stop - x.start), int(y.stop - y.start))
        yield Mask(int(numbers[index]), places == index + 1, box)


def run_lengths(bits: np.ndarray) -> list[int]:
    """COCO's run lengths of a mask (H, W): down each column in turn, outside and inside by turns.

    The first counts pixels outside, and is 0 where the mask has the first pixel.
    """
    flat = bits.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    ends = np.concatenate([[0], changes, [flat.size]])
    lengths: list[int] = np.diff(ends).tolist()
    return [0, *lengths] if flat[0] else lengths


def compressed(lengths: list[int]) -> str:
    """Run lengths as COCO's text: from the third on less the one before the last, five bits a
    letter."""
    letters = []
    for i, length in enumerate(lengths):
        rest = length - lengths[i - 2] if i > 2 else length
        more = True
        while more:
            bits, rest = rest & 31, rest >> 5
            # What is left repeats the sign, which the fifth bit says.
            more = rest != (-1 if bits & 16 else 0)
            letters.append(chr(48 + bits + 32 * more))
    return "".join(letters)
