"""K-Means on the rows of a field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from attnprobe.fields import AttentionField, Segmentation
from attnprobe.group.counts import Candidates, by_gap, by_silhouette, true_count
from attnprobe.group.lloyd import Geometry, Space, lloyd, plus_plus
from attnprobe.group.soft import from_scores
from attnprobe.registry import grouper


@grouper("kmeans")
@dataclass(frozen=True)
class KMeans:
    """K-Means on the rows: the baselines K-Means-C and -S (Tian et al., CVPR 2024, table 1).

    Lloyd's algorithm from one greedy k-means++ start (Arthur & Vassilvitskii 2007), with
    scikit-learn's stopping rule and its treatment of empty clusters: from the same start both give
    the same labels. There are fewer clusters than asked for where the field has fewer distinct
    rows. Proposals are the tokens' scores under the clusters, affine in the row, so enlarging them
    is K-Means on bilinearly enlarged rows. O(K·N²) a step in time, N² + K·N in memory (N² more
    for the cosine). The choice by silhouette adds one such run on 512 tokens for each candidate,
    that by the gap eleven.

    Args:
        clusters: how many; ``truth``: as many as the image's truth has classes; ``silhouette``:
            the candidate with the highest mean silhouette (Rousseeuw 1987) on 512 tokens;
            ``gap``: the first one whose clusters are tighter than those of uniform rows by as
            much as the next one's (Tibshirani et al. 2001), on 512 tokens.
        geometry: what is near: ``euclidean``, ``cosine`` (spherical K-Means, Dhillon & Modha
            2001) or ``kl`` (divergence of a row from its cluster's mean, Banerjee et al. 2005).
        candidates: least and most clusters that ``silhouette`` and ``gap`` try.
    """

    clusters: Annotated[int, Ge(1)] | Literal["truth", "silhouette", "gap"] = 6
    geometry: Geometry = "euclidean"
    candidates: Candidates = (2, 12)

    def __call__(
        self,
        field: AttentionField,
        *,
        rng: np.random.Generator,
        truth: np.ndarray | None = None,
    ) -> Segmentation:
        """Segment on the field's grid; proposals (K, H, W) come with the labels."""
        space = Space(field.rows, self.geometry)
        count = self._count(space, rng, truth)
        return from_scores(space.scores(lloyd(space, plus_plus(space, count, rng))), field.grid)

    def _count(self, space: Space, rng: np.random.Generator, truth: np.ndarray | None) -> int:
        match self.clusters:
            case "truth":
                return true_count(truth, "KMeans")
            case "silhouette":
                return by_silhouette(space, self.candidates, rng)
            case "gap":
                return by_gap(space, self.candidates, rng)
            case count:
                return count
