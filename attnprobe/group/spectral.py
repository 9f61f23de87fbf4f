"""Spectral clustering: normalised cuts of a field into K parts at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from attnprobe.fields import AttentionField, Segmentation
from attnprobe.group.counts import Candidates, true_count
from attnprobe.group.eigen import by_pivots, leading, normalized
from attnprobe.group.lloyd import Space, best_means
from attnprobe.group.soft import from_scores
from attnprobe.registry import grouper

_STARTS = 10
"""Starts of K-Means on the embedding, which is small; the best one is taken."""

_ZERO = 1e-5
"""Eigenvalues up to this are none: their vectors say nothing of the field."""


@grouper("spectral")
@dataclass(frozen=True)
class Spectral:
    """Normalised cut of the symmetric affinity ½(A + Aᵀ) (Shi & Malik 2000, PAMI 22, section 5).

    The K leading eigenvectors of D^-½ S D^-½, divided by √D, place the tokens in K dimensions,
    where K-Means (best of 10 starts) or pivoted QR (Damle, Minden & Ying 2019) parts them. Parts
    that no attention connects come apart first. There are fewer segments than asked for where the
    affinity has a lower rank: a uniform field is one. Proposals are the tokens' scores in that
    space, enlarged with it. O(N²) for each product with the affinity, some 20 to 100 of them; 2·N²
    in memory.

    Args:
        clusters: how many, K; ``truth``: as many as the image's truth has classes; ``eigengap``:
            the candidate after which the eigenvalues fall the most (von Luxburg 2007, section
            8.3).
        assign: how the embedded tokens are parted: ``kmeans`` or ``qr``, which needs no start.
        candidates: least and most clusters that ``eigengap`` considers.
    """

    clusters: Annotated[int, Ge(1)] | Literal["truth", "eigengap"] = 6
    assign: Literal["kmeans", "qr"] = "kmeans"
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
            count = true_count(truth, "Spectral")
        elif self.clusters == "eigengap":
            count = self.candidates[1] + 1  # the last candidate's gap needs one more
        else:
            count = self.clusters
        laplacian, scale = normalized(field.symmetric().clamp_(min=0))
        values, vectors = leading(laplacian, count, rng)
        if self.clusters == "eigengap":
            count = self._before_the_gap(values)
        count = max(1, min(count, int((values > _ZERO).sum())))
        embedding = vectors[:, :count] * scale[:, None]
        if self.assign == "qr":
            return from_scores(by_pivots(embedding), field.grid)
        # Scaled so that K-Means works with numbers around 1.
        space = Space(embedding * len(embedding) ** 0.5)
        return from_scores(space.scores(best_means(space, count, rng, _STARTS)), field.grid)

    def _before_the_gap(self, values: np.ndarray) -> int:
        """The candidate K with the largest λ_K − λ_(K+1); values that don't exist are 0."""
        least, most = self.candidates
        padded = np.zeros(most + 1)
        padded[: len(values)] = values.clip(min=0)
        gaps = padded[least - 1 : most] - padded[least : most + 1]
        return least + int(gaps.argmax())
