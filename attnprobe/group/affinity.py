"""The affinities that normalised cuts are made of."""

from __future__ import annotations

from typing import Literal

from attnprobe.distances import cosine_affinity
from attnprobe.errors import ComponentError
from attnprobe.fields import AttentionField
from attnprobe.lazy import torch

Affinity = Literal["attention", "cosine", "features"]
"""The symmetric attention ½(A + Aᵀ), or the cosines of rows or of the field's features."""


def affinity_of(field: AttentionField, kind: Affinity, exponent: float, who: str) -> torch.Tensor:
    """How alike the tokens of a field are, to the power of an exponent: (N, N), from 0 to 1.

    Raises:
        ComponentError: features are asked for and the field has none; `who` asked.
    """
    if kind == "attention":
        affinity = field.symmetric().clamp_(min=0)
        return affinity.div_(affinity.max()).pow_(exponent)
    if kind == "cosine":
        return cosine_affinity(field.rows).pow_(exponent)
    if field.features is None:
        raise ComponentError(
            f"{who}.affinity: the field has no features; use the aggregator features, or "
            "attention or cosine here"
        )
    return cosine_affinity(field.features.flatten(0, 1)).pow_(exponent)
