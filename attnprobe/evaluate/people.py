"""One segmentation against several people's, as Berkeley's benchmark scores it.

The definitions are those of the benchmark's own programs, which come with BSDS500 (Arbeláez et al.,
"Contour Detection and Hierarchical Image Segmentation", PAMI 2011, section 2.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from attnprobe.errors import AttnProbeError
from attnprobe.evaluate.lines import matched, reach_of, thin_lines
from attnprobe.evaluate.matching import checked_labels, count_overlaps
from attnprobe.evaluate.regions import TOLERANCE, covering_of, entropy, ordinal, pairs


@dataclass(frozen=True)
class People:
    """Agreement with what several people drew; sums, so that images can be added up.

    Args:
        covered: Σ |region| · max IoU with a segment, over all regions of all people.
        pixels: that those regions have, a pixel counted for each person.
        pri: probabilistic Rand index: the mean over people of the Rand index, 0 to 1.
        vi: variation of information in bits, the mean over people; 0 if equal.
        recalled: pixels of people's lines that have a partner on the prediction's.
        drawn: pixels of people's lines.
        right: pixels of the prediction's lines that have a partner on some person's.
        found: pixels of the prediction's lines.
    """

    covered: float
    pixels: int
    pri: float
    vi: float
    recalled: int
    drawn: int
    right: int
    found: int

    @property
    def covering(self) -> float:
        """Of people's regions by the segments, 0 to 1; NaN without a pixel."""
        return self.covered / self.pixels if self.pixels else math.nan

    @property
    def recall(self) -> float:
        """Share of people's lines that are found; 0 where there are none."""
        return self.recalled / self.drawn if self.drawn else 0.0

    @property
    def precision(self) -> float:
        """Share of the prediction's lines that are right; 0 where there are none."""
        return self.right / self.found if self.found else 0.0

    @property
    def boundary_f(self) -> float:
        """Harmonic mean of precision and recall; 0 where both are."""
        recall, precision = self.recall, self.precision
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


NAMES = tuple(field.name for field in fields(People))
"""The names of the numbers."""


def people_scores(
    prediction: ArrayLike, truths: Sequence[ArrayLike], tolerance: float = TOLERANCE
) -> People:
    """Compare the segments of an image with each person's regions.

    Args:
        prediction: (H, W) segments, whole numbers; −1 for pixels in none, which PRI and VI take as
            one segment more, and which no region is covered by.
        truths: (H, W) regions of each person; −1 for void, which counts nowhere. A person who has
            nothing but void doesn't count.
        tolerance: of lines, as a share of the image's diagonal.

    Raises:
        AttnProbeError: there is no truth, shapes differ, an array isn't of whole numbers, a label
            is below −1.
    """
    if not truths:
        raise AttnProbeError("truths: at least one is needed")
    both = [checked_labels(prediction, truth) for truth in truths]
    both = [(segments, truth) for segments, truth in both if (truth >= 0).any()]
    covered, pixels, ri, vi = 0.0, 0, [], []
    for segments, truth in both:
        occurring = np.unique(truth[truth >= 0])
        overlaps = count_overlaps(segments, ordinal(truth, occurring), occurring.size)
        table = np.column_stack([overlaps.pixels, overlaps.total - overlaps.pixels.sum(1)])
        covered += covering_of(overlaps) * overlaps.valid
        pixels += overlaps.valid
        ri.append(_rand(table))
        vi.append(_variation(table))
    return People(covered, pixels, _mean(ri), _mean(vi), *_lines(both, tolerance))


def _lines(
    both: Sequence[tuple[np.ndarray, np.ndarray]], tolerance: float
) -> tuple[int, int, int, int]:
    """Pixels of people's lines, with partners and all, and those of the prediction's."""
    if not both:
        return 0, 0, 0, 0
    segments = both[0][0] + 1  # those in none are as one segment
    seen = np.any([truth >= 0 for _, truth in both], axis=0)
    found = thin_lines(np.where(seen, segments, -1))
    right = np.zeros_like(found)
    recalled = drawn = 0
    for _, truth in both:
        lines = thin_lines(truth)
        ours, theirs = matched(found, lines, reach_of((truth.shape[0], truth.shape[1]), tolerance))
        right |= ours
        recalled += int(theirs.sum())
        drawn += int(lines.sum())
    return recalled, drawn, int(right.sum()), int(found.sum())


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _rand(table: np.ndarray) -> float:
    """Share of the pairs of pixels that are together in both, or apart in both."""
    every = pairs(table.sum())
    apart = pairs(table.sum(1)) + pairs(table.sum(0)) - 2 * pairs(table)
    return 1 - apart / every if every else 1.0


def _variation(table: np.ndarray) -> float:
    """H(truth | prediction) + H(prediction | truth), in bits."""
    share = table / table.sum()
    given = 2 * entropy(share) - entropy(share.sum(1)) - entropy(share.sum(0))
    return max(0.0, given / math.log(2))
