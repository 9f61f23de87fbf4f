"""Distances between all pairs of a field's rows, for methods that ask for a matrix of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from attnprobe.distances import symmetric_kl

Metric = Literal["euclidean", "cosine", "kl"]

_LEAST = 1e-12
"""Probabilities below this count as this, so that rows with zeros have a distance."""


def pairwise(rows: torch.Tensor, metric: Metric) -> np.ndarray:
    """(M, M) float32: Euclidean, 1 − cosine, or half the symmetric KL; the diagonal exactly 0."""
    if metric == "kl":
        clamped = rows.clamp(min=_LEAST)
        distances = symmetric_kl(clamped, clamped)
    elif metric == "cosine":
        unit = F.normalize(rows, dim=1)
        distances = 1 - unit @ unit.T
    else:
        distances = torch.cdist(rows, rows)
    distances = (distances + distances.T).mul_(0.5)  # rounding leaves them not quite symmetric
    return distances.clamp_(min=0).fill_diagonal_(0).cpu().numpy()
