"""DiffSeg's optional refinement: K-Means on all maps, started from the proposals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnprobe.fields import AttentionField, Segmentation
from attnprobe.group.lloyd import kmeans_means
from attnprobe.lazy import torch
from attnprobe.registry import refiner

if TYPE_CHECKING:
    from PIL.Image import Image


@refiner("kmeans")
@dataclass(frozen=True)
class KMeansRefiner:
    """K-Means (Euclidean) on the field's rows from a segmentation (Tian et al. 2024, section 4).

    Each segment's mean map is a start; the clusters' means become the proposals.
    """

    def __call__(
        self,
        segmentation: Segmentation,
        field: AttentionField,
        *,
        rng: np.random.Generator | None = None,
        image: Image | None = None,
    ) -> Segmentation:
        """Segment anew on the field's grid."""
        labels = segmentation.resized(field.grid).labels.ravel()
        rows = field.rows
        start = torch.stack(
            [rows[torch.from_numpy(labels == k)].mean(0) for k in np.unique(labels)]
        )
        means = kmeans_means(rows, start).view(-1, *field.grid)
        return Segmentation(means.argmax(0).cpu().numpy(), proposals=means)
