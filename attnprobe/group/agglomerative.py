"""Agglomerative clustering of a field's rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt

from attnprobe.distances import Metric, pairwise
from attnprobe.errors import ComponentError
from attnprobe.fields import AttentionField, Segmentation
from attnprobe.group.counts import true_count
from attnprobe.group.soft import from_labels
from attnprobe.registry import grouper


@grouper("agglomerative")
@dataclass(frozen=True)
class Agglomerative:
    """Hierarchical merging of the rows, nearest pair first (Müllner 2011, arXiv 1109.2378).

    SciPy's linkage on the distances of all pairs; the tree is cut at a number of segments or at a
    distance. Proposals are the segments' masks. O(N³) for the distances, O(N²) for the tree; about
    5·N² in memory.

    Args:
        clusters: how many at most (ties may leave fewer); ``truth``: as many as the image's truth
            has classes; ``distance``: whatever merges up to `distance`.
        distance: of the last merge, if `clusters` is ``distance``.
        metric: of two rows: ``kl``, half the symmetric divergence, as DiffSeg has it; ``js``, the
            Jensen–Shannon metric, which takes a minute for 4096 tokens; ``hellinger``,
            ``euclidean`` or ``cosine``.
        linkage: of two segments: the mean over their pairs (``average``), the farthest pair
            (``complete``), the nearest (``single``), or the growth of variance (``ward``, with
            ``euclidean`` only).
    """

    clusters: Annotated[int, Ge(1)] | Literal["truth", "distance"] = 6
    distance: Annotated[float, Gt(0)] = 1.0
    metric: Metric = "kl"
    linkage: Literal["average", "complete", "single", "ward"] = "average"

    def __post_init__(self) -> None:
        if self.linkage == "ward" and self.metric != "euclidean":
            raise ComponentError(
                "Agglomerative.linkage: ward needs the metric euclidean. "
                f"Got {self.metric} instead."
            )

    def __call__(
        self,
        field: AttentionField,
        *,
        rng: np.random.Generator,
        truth: np.ndarray | None = None,
    ) -> Segmentation:
        """Segment on the field's grid; proposals (K, H, W) come with the labels."""
        from scipy.cluster.hierarchy import fcluster, linkage
        from scipy.spatial.distance import squareform

        count = true_count(truth, "Agglomerative") if self.clusters == "truth" else self.clusters
        if len(field.rows) == 1:
            return from_labels(np.zeros(1, np.int64), field.grid)
        tree = linkage(squareform(pairwise(field.rows, self.metric), checks=False), self.linkage)
        if count == "distance":
            labels = fcluster(tree, self.distance, criterion="distance")
        else:
            labels = fcluster(tree, min(count, len(field.rows)), criterion="maxclust")
        return from_labels(labels, field.grid)
