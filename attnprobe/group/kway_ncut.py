"""K-way normalised cut: all segments at once, on labels and not on a relaxation of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from attnprobe.fields import AttentionField, Segmentation
from attnprobe.group.affinity import Affinity, affinity_of
from attnprobe.group.counts import true_count
from attnprobe.group.eigen import by_pivots, inverse_roots, leading
from attnprobe.group.partition import Partition, chained, climbed, settled
from attnprobe.group.soft import from_labels
from attnprobe.lazy import torch
from attnprobe.registry import grouper

_FIRST = 8
"""Eigenvalues that are looked at first; twice as many each time all of them are under κ."""

_TOLERANCE = 1e-2
"""Residual of the eigenpairs, from which labels start and are counted but nothing else comes."""

_ZERO = 1e-5
"""Eigenvalues of the affinity up to this are none: their vectors say nothing of the field."""


@grouper("kway-ncut")
@dataclass(frozen=True)
class KWayNCut:
    """Discrete K-way normalised cut (Falcon, Zhang et al., ICLR 2026).

    Labels X are sought that make Σ_k x_kᵀSx_k / x_kᵀDx_k large, which is K less the normalised cut
    (Shi & Malik 2000). From the K leading eigenvectors of D^-½ S D^-½, parted by pivoted QR (Damle,
    Minden & Ying 2019), Falcon's steps go along the gradient 2(G/v − DXq/v²), G = SX, with inertia
    and Armijo's rule. They stop well above the cheapest cut of small graphs, so moves by exact
    gains follow, all tokens at once and then in chains of one (Kernighan & Lin 1970). How Falcon
    starts, what its inertia begins with and its κ are not known here. Proposals are the segments'
    masks. One decomposition, O(N²) for each of its products, then O(N·K) a move; 4·N² in memory.

    Args:
        clusters: how many, K; ``truth``: as many as the image's truth has classes;
            ``eigenvalues``: as many as the normalised Laplacian has eigenvalues under `kappa`.
        kappa: κ, from 0 to 2, if `clusters` is ``eigenvalues``; more cuts more.
        exponent: α, the power to which affinities are taken; a higher one cuts more.
        affinity: S, as in `ncut`: the symmetric ``attention`` ½(A + Aᵀ), or the ``cosine`` of rows
            or of the field's ``features``, brought to [0, 1].
    """

    clusters: Annotated[int, Ge(1)] | Literal["truth", "eigenvalues"] = "eigenvalues"
    kappa: Annotated[float, Gt(0), Le(2)] = 0.2
    exponent: Annotated[float, Gt(0), Le(1000)] = 1.5
    affinity: Affinity = "attention"

    def __call__(
        self,
        field: AttentionField,
        *,
        rng: np.random.Generator,
        truth: np.ndarray | None = None,
    ) -> Segmentation:
        """Segment on the field's grid; proposals (K, H, W) come with the labels."""
        affinity = affinity_of(field, self.affinity, self.exponent, "KWayNCut")
        scale = inverse_roots(affinity)
        count = true_count(truth, "KWayNCut") if self.clusters == "truth" else self.clusters
        vectors = self._leading(affinity, scale, count, rng)
        _, start = by_pivots(vectors * scale[:, None]).argmax(1).unique(return_inverse=True)
        found = Partition(affinity, start, int(start.max()) + 1)
        for better in (climbed, settled, chained):
            found = better(found)
        return from_labels(found.labels.cpu().numpy(), field.grid)

    def _leading(
        self,
        affinity: torch.Tensor,
        scale: torch.Tensor,
        count: int | Literal["eigenvalues"],
        rng: np.random.Generator,
    ) -> torch.Tensor:
        """As many leading eigenvectors (N, K) as there shall be segments, or as there can be."""
        if count != "eigenvalues":
            values, vectors = leading(affinity, count, rng, scale, _TOLERANCE)
            return vectors[:, : max(1, int((np.abs(values) > _ZERO).sum()))]
        tried = _FIRST
        values, vectors = leading(affinity, tried, rng, scale, _TOLERANCE)
        while 1 - values[-1] < self.kappa and len(values) < len(affinity):
            tried *= 2
            values, vectors = leading(affinity, tried, rng, scale, _TOLERANCE)
        return vectors[:, : max(1, int((1 - values < self.kappa).sum()))]
