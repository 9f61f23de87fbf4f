"""K-Means on the rows of a field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge

from attnprobe.fields import AttentionField, Segmentation
from attnprobe.group.counts import Candidates, true_count
from attnprobe.group.lloyd import Geometry, Space, lloyd, plus_plus
from attnprobe.group.pairs import pairwise
from attnprobe.group.soft import from_scores
from attnprobe.registry import grouper

_SAMPLE = 512
"""Tokens on which silhouettes are taken."""


@grouper("kmeans")
@dataclass(frozen=True)
class KMeans:
    """K-Means on the rows: the baselines K-Means-C and -S (Tian et al., CVPR 2024, table 1).

    Lloyd's algorithm from one greedy k-means++ start (Arthur & Vassilvitskii 2007), with
    scikit-learn's stopping rule and its treatment of empty clusters: from the same start both give
    the same labels. There are fewer clusters than asked for where the field has fewer distinct
    rows. Proposals are the tokens' scores under the clusters, affine in the row, so enlarging them
    is K-Means on bilinearly enlarged rows. O(K·N²) a step in time, N² + K·N in memory (N² more
    for the cosine); the choice by silhouette adds one such run on 512 tokens for each candidate.

    Args:
        clusters: how many; ``truth``: as many as the image's truth has classes; ``silhouette``:
            the candidate with the highest mean silhouette (Rousseeuw 1987) on 512 tokens.
        geometry: what is near: ``euclidean``, ``cosine`` (spherical K-Means, Dhillon & Modha
            2001) or ``kl`` (divergence of a row from its cluster's mean, Banerjee et al. 2005).
        candidates: least and most clusters that ``silhouette`` tries.
    """

    clusters: Annotated[int, Ge(1)] | Literal["truth", "silhouette"] = 6
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
        if self.clusters == "truth":
            count = true_count(truth, "KMeans")
        elif self.clusters == "silhouette":
            count = self._best_count(field.rows, rng)
        else:
            count = self.clusters
        space = Space(field.rows, self.geometry)
        return from_scores(space.scores(lloyd(space, plus_plus(space, count, rng))), field.grid)

    def _best_count(self, rows: torch.Tensor, rng: np.random.Generator) -> int:
        """The candidate with the highest silhouette on a sample; 1 if none divides it."""
        from sklearn.metrics import silhouette_score

        chosen = rng.permutation(len(rows))[:_SAMPLE]
        sample = rows[torch.from_numpy(chosen).to(rows.device)]
        space = Space(sample, self.geometry)
        distances = pairwise(sample, self.geometry)
        best, count = -1.0, 1
        for candidate in range(self.candidates[0], self.candidates[1] + 1):
            start = plus_plus(space, candidate, rng)
            labels = space.scores(lloyd(space, start)).argmax(1).cpu().numpy()
            if 1 < np.unique(labels).size < len(sample):
                score = silhouette_score(distances, labels, metric="precomputed")
                if score > best:
                    best, count = score, candidate
        return count
