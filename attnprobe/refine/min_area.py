"""Small segments merge into the most similar of those they touch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Gt, Lt

from attnprobe.distances import symmetric_kl
from attnprobe.fields import AttentionField, Segmentation
from attnprobe.lazy import torch
from attnprobe.refine.segments import bands, cell_counts, compacted
from attnprobe.registry import refiner

if TYPE_CHECKING:
    from PIL.Image import Image


@refiner("min-area")
@dataclass(frozen=True)
class MinArea:
    """Segments under a share of the picture merge into the most similar that they touch.

    Region merging (Nock & Nielsen 2004; Felzenszwalb & Huttenlocher 2004 end with the same step),
    by the distance of attention maps that DiffSeg merges by (Tian et al. 2024, equation 2): the
    symmetric KL divergence between segments' mean maps. The smallest goes first, and what has
    merged counts as one. Proposals of merged segments become their maximum, so that together they
    win where each won. The size is that of the labels, which are then numbered without gaps.
    O(K·N²) for K segments, O(K·N + K²) in memory.

    Args:
        share: of the picture; a segment with less merges.
    """

    share: Annotated[float, Gt(0), Lt(1)] = 0.01

    def __call__(
        self,
        segmentation: Segmentation,
        field: AttentionField,
        *,
        rng: np.random.Generator | None = None,
        image: Image | None = None,
    ) -> Segmentation:
        """Merge until no segment is too small, or only one is left."""
        segments = compacted(segmentation)
        into = self._merged(segments.labels, field)
        proposals = segments.proposals
        if proposals is not None:
            proposals = proposals.clone()
            for small, target in enumerate(into):  # an absorbed one's target is never absorbed
                proposals[target] = torch.maximum(proposals[target], proposals[small])
        return compacted(replace(segments, labels=into[segments.labels], proposals=proposals))

    def _merged(self, labels: np.ndarray, field: AttentionField) -> np.ndarray:
        """For each label, the one that it is part of in the end."""
        counts = cell_counts(labels, field.grid)
        area, touch = counts.sum(1), touching(labels, len(counts))
        weights = torch.from_numpy(counts).to(field.rows)
        means = (weights @ field.rows) / weights.sum(1, keepdim=True)
        into = np.arange(len(counts), dtype=np.int32)
        least = self.share * labels.size
        while True:
            small = np.flatnonzero((area > 0) & (area < least) & touch.any(1))
            if not small.size:
                return into
            small = small[area[small].argmin()]
            near = np.flatnonzero(touch[small])
            apart = symmetric_kl(means[[small]], means[near])[0].nan_to_num(torch.inf)
            target = near[int(apart.argmin())]
            both = area[small] + area[target]
            means[target] += (means[small] - means[target]) * float(area[small] / both)
            area[target], area[small] = both, 0
            into[into == small] = target
            touch[target] |= touch[small]
            touch[:, target] |= touch[:, small]
            touch[small], touch[:, small], touch[target, target] = False, False, False


def touching(labels: np.ndarray, count: int) -> np.ndarray:
    """Which labels have pixels side by side or one above the other, (K, K) bool."""
    touch = np.zeros((count, count), bool)
    for _, rows in bands(labels.shape, margin=1):
        part = labels[rows]
        touch[part[:, :-1], part[:, 1:]] = True
        touch[part[:-1], part[1:]] = True
    np.fill_diagonal(touch, False)
    return touch | touch.T
