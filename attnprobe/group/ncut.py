"""Recursive normalised cut: a field is cut in two again and again while cuts are cheap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Gt, Le

from attnprobe.fields import AttentionField, Segmentation
from attnprobe.group.affinity import Affinity, affinity_of
from attnprobe.group.eigen import leading, normalized
from attnprobe.group.soft import from_labels
from attnprobe.lazy import torch
from attnprobe.registry import grouper

_PLACES = 100
"""Evenly spaced places along an eigenvector at which a cut is tried."""

_CONNECTED = 1 - 1e-5
"""A second eigenvalue over this may mean that the graph falls apart."""


@grouper("ncut")
@dataclass(frozen=True)
class NCut:
    """Recursive normalised cut (Shi & Malik 2000; DiffCut, Couairon et al., NeurIPS 2024).

    The second generalised eigenvector of (D − S, D), along which the best of 100 evenly spaced
    places is sought, cuts the tokens in two, and both sides are cut again while NCut < τ. The
    number of segments is an outcome. TokenCut and MaskCut (Wang et al. 2022 and 2023) take the
    same eigenvector; DiffCut has cosines, α = 10 and τ = 0.5, on features, and attention rows fall
    to pieces at that. Proposals are the segments' masks. O(N²) a cut, and O(N³) once for cosines;
    4·N² in memory.

    Args:
        threshold: τ, the cost from 0 to 2 at which a cut is no longer made; more cuts more.
        exponent: α, the power to which affinities are taken; a higher one cuts more.
        affinity: S: the symmetric ``attention`` ½(A + Aᵀ), or the ``cosine`` of rows or of the
            field's ``features``, brought to [0, 1].
    """

    threshold: Annotated[float, Gt(0), Le(2)] = 0.4
    exponent: Annotated[float, Gt(0), Le(1000)] = 1.0
    affinity: Affinity = "attention"

    def __call__(
        self,
        field: AttentionField,
        *,
        rng: np.random.Generator,
        truth: np.ndarray | None = None,
    ) -> Segmentation:
        """Segment on the field's grid; proposals (K, H, W) come with the labels."""
        affinity = affinity_of(field, self.affinity, self.exponent, "NCut")
        labels = np.zeros(len(affinity), np.int64)
        open_parts, count = [torch.arange(len(affinity), device=affinity.device)], 0
        while open_parts:
            part = open_parts.pop()
            sides = self._cut(affinity[part][:, part], rng) if len(part) > 1 else None
            if sides is None:
                labels[part.cpu().numpy()] = count
                count += 1
            else:
                where = torch.from_numpy(sides).to(part.device)
                open_parts += [part[where == side] for side in where.unique()]
        return from_labels(labels, field.grid)

    def _cut(self, affinity: torch.Tensor, rng: np.random.Generator) -> np.ndarray | None:
        """The side of each token, or None where the best cut costs τ or more."""
        from scipy.sparse.csgraph import connected_components

        matrix, scale = normalized(affinity)
        values, vectors = leading(matrix, 2, rng)
        if values[1] > _CONNECTED:
            parts, sides = connected_components((affinity > 0).cpu().numpy(), directed=False)
            if parts > 1:  # nothing has to be cut
                return sides
        sides, cost = best_place(affinity, vectors[:, 1] * scale)
        return sides.cpu().numpy() if cost < self.threshold else None


def best_place(affinity: torch.Tensor, along: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The cheapest normalised cut along a vector (N,): who lies beyond it, and what it costs.

    NCut(A, B) = cut(A, B)/assoc(A, V) + cut(A, B)/assoc(B, V), from 0 to 2.
    """
    low, high = along.aminmax()
    places = torch.linspace(0, 1, _PLACES + 2, device=along.device)[1:-1] * (high - low) + low
    beyond = along[:, None] > places
    members = beyond.to(affinity)
    volumes = affinity.sum(1) @ members
    cuts = volumes - (members * (affinity @ members)).sum(0)
    rest = affinity.sum() - volumes
    costs = (cuts / volumes + cuts / rest).nan_to_num(nan=2.0, posinf=2.0)
    best = int(costs.argmin())
    return beyond[:, best], float(costs[best])
