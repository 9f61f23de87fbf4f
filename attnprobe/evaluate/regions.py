"""How the segments of an image lie over its true regions, whatever either is called."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from attnprobe.errors import AttnProbeError
from attnprobe.evaluate.matching import Overlaps, checked_labels, count_overlaps

TOLERANCE = 0.0075
"""Share of the diagonal within which a line is right, as Berkeley's benchmark has it."""


@dataclass(frozen=True)
class Regions:
    """Agreement of two partitions, with no matching between them.

    Args:
        ari: adjusted Rand index (Hubert and Arabie 1985); 1 if equal, about 0 by chance.
        nmi: normalised mutual information, by the mean of both entropies, 0 to 1.
        boundary_f: F-measure of the boundaries; see `boundary_f`.
        covering: of the true regions by the segments (Arbeláez et al. 2011), 0 to 1.
        segments: how many there are.
        true_segments: how many regions the truth has.
    """

    ari: float
    nmi: float
    boundary_f: float
    covering: float
    segments: float
    true_segments: float


class RegionMetric:
    """Means of `Regions` over images.

    The numbers of all images are kept, and their exact sums are rounded once: the means depend
    neither on the order of the images nor on how they are split over several workers.

    Args:
        tolerance: of boundaries, as a share of the image's diagonal.
    """

    def __init__(self, tolerance: float = TOLERANCE) -> None:
        self.tolerance = tolerance
        self._images: list[Regions] = []

    def update(self, prediction: ArrayLike, truth: ArrayLike) -> None:
        """Add an image; the arrays are those of `region_scores`."""
        self._images.append(region_scores(prediction, truth, self.tolerance))

    def merge(self, other: RegionMetric) -> None:
        """Add the images of another score, such as another worker's."""
        if self.tolerance != other.tolerance:
            raise AttnProbeError(
                "merge: both scores must have the same tolerance. "
                f"Got {self.tolerance} and {other.tolerance} instead."
            )
        self._images += other._images

    def compute(self) -> Regions:
        """The mean of each number over the images that have it, NaN where none has."""
        return mean_regions(self._images)


def mean_regions(images: list[Regions]) -> Regions:
    """The mean of each number over the images that have it, NaN where none has."""

    def mean(name: str) -> float:
        known = [value for image in images if not math.isnan(value := getattr(image, name))]
        return math.fsum(known) / len(known) if known else math.nan

    return Regions(**{field.name: mean(field.name) for field in fields(Regions)})


def region_scores(prediction: ArrayLike, truth: ArrayLike, tolerance: float = TOLERANCE) -> Regions:
    """Compare the segments of one image with its true regions.

    Args:
        prediction: (H, W) segments, whole numbers; −1 for pixels in none, which ARI, NMI and the
            boundaries take as one segment more.
        truth: (H, W) regions, whole numbers; −1 for void, which counts nowhere.
        tolerance: of boundaries, as a share of the image's diagonal.

    Raises:
        AttnProbeError: shapes differ, an array isn't of whole numbers, a label is below −1.
    """
    prediction, truth = checked_labels(prediction, truth)
    occurring = np.unique(truth[truth >= 0])
    overlaps = count_overlaps(prediction, ordinal(truth, occurring), max(1, occurring.size))
    table = np.column_stack([overlaps.pixels, overlaps.total - overlaps.pixels.sum(1)])
    return Regions(
        ari=_adjusted_rand(table),
        nmi=_mutual_information(table),
        boundary_f=boundary_f(prediction, truth, tolerance),
        covering=covering_of(overlaps),
        segments=int(np.unique(prediction[prediction >= 0]).size),
        true_segments=int(occurring.size),
    )


def ordinal(truth: np.ndarray, occurring: np.ndarray) -> np.ndarray:
    """The truth with its labels numbered from 0 in their order, −1 for void."""
    return np.where(truth >= 0, np.searchsorted(occurring, truth), -1)


def _adjusted_rand(table: np.ndarray) -> float:
    """From pairs of pixels, in whole numbers of any size."""
    together = pairs(table)
    in_truth, in_prediction = pairs(table.sum(1)), pairs(table.sum(0))
    every = pairs(table.sum())
    # (together − expected) / (mean − expected), all times 2 · every.
    chance = 2 * in_truth * in_prediction
    most = (in_truth + in_prediction) * every
    if most == chance:  # both of one part, or both of single pixels
        return 1.0 if table.any() else math.nan
    return (2 * together * every - chance) / (most - chance)


def pairs(counts: np.ndarray) -> int:
    """Pairs of pixels within groups of so many."""
    return int((counts * (counts - 1) // 2).sum())


def _mutual_information(table: np.ndarray) -> float:
    if not table.any():
        return math.nan
    share = table / table.sum()
    joint, rows, columns = entropy(share), entropy(share.sum(1)), entropy(share.sum(0))
    if rows + columns == 0:  # both of one part
        return 1.0
    return float(np.clip(2 * (rows + columns - joint) / (rows + columns), 0, 1))


def entropy(share: np.ndarray) -> float:
    """In nats, of shares that sum to 1."""
    known = share[share > 0]
    return float(-(known * np.log(known)).sum())


def covering_of(overlaps: Overlaps) -> float:
    """Σ |region| · max IoU with a segment / Σ |region|."""
    if not overlaps.valid:
        return math.nan
    union = overlaps.total[:, None] + overlaps.pixels.sum(0) - overlaps.pixels
    best = (overlaps.pixels / np.maximum(union, 1)).max(1)
    return float((overlaps.total * best).sum() / overlaps.valid)


def boundary_f(prediction: ArrayLike, truth: ArrayLike, tolerance: float = TOLERANCE) -> float:
    """F-measure of boundaries (Martin et al. 2004, by distance as in Csurka et al. 2013).

    A pixel is on a boundary if the one below it or to its right has another label. Precision is the
    share of the prediction's boundary pixels that have one of the truth's within the tolerance,
    recall the share of the truth's that have one of the prediction's; F is their harmonic mean.
    Where void is on either side there is no boundary. Unassigned pixels are as one segment.

    Args:
        prediction: (H, W) segments, −1 for pixels in none.
        truth: (H, W) regions, −1 for void.
        tolerance: largest Euclidean distance, as a share of the image's diagonal √(H² + W²).

    Returns:
        0 to 1; 1 if neither has a boundary, 0 if only one has, NaN if all is void.

    Raises:
        AttnProbeError: shapes differ, an array isn't of whole numbers, a label is below −1.
    """
    prediction, truth = checked_labels(prediction, truth)
    valid = truth >= 0
    if not valid.any():
        return math.nan
    lines = _boundary(prediction, valid), _boundary(truth, valid)
    if not all(line.any() for line in lines):
        return float(not any(line.any() for line in lines))
    reach = tolerance * math.hypot(*truth.shape)
    precision = np.mean(_distance(lines[1])[lines[0]] <= reach)
    recall = np.mean(_distance(lines[0])[lines[1]] <= reach)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _boundary(labels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Where the pixel below or to the right has another label, both being valid."""
    line = np.zeros(labels.shape, bool)
    for here, there in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        line[here] |= (labels[here] != labels[there]) & valid[here] & valid[there]
    return line


def _distance(line: np.ndarray) -> np.ndarray:
    """Pixels from each pixel to the nearest on the line."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~line)
