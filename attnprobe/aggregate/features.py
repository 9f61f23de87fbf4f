"""DiffCut's affinity: how alike the outputs of an attention layer are from place to place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt, Le

from attnprobe.aggregate.single import Single
from attnprobe.distances import cosine_affinity
from attnprobe.errors import ComponentError
from attnprobe.fields import AttentionField
from attnprobe.registry import aggregator


@aggregator("features")
@dataclass(frozen=True)
class Features:
    """Cosine affinity of what a layer hands on (DiffCut, Couairon et al., NeurIPS 2024, section 3).

    The cosines of all pairs of tokens' features, brought to [0, 1] and to the power α, then each
    row divided by its sum. The features go with the field: `ncut` with ``affinity: features`` cuts
    them as DiffCut does, and the refiner `upscale` gives labels at the picture's size. O(N²·C).

    Args:
        layer: whose outputs: its number in the order of computation (−1 is the last), its name, or
            a part of the name that no other captured layer has.
        exponent: α, the power to which affinities are taken.
    """

    layer: int | str = -1
    exponent: Annotated[float, Gt(0), Le(1000)] = 10.0

    needs: ClassVar[frozenset[str]] = frozenset({"maps", "features"})

    def __call__(self, fields: Sequence[AttentionField]) -> AttentionField:
        """The affinity of one layer, on its grid, and its features."""
        field = Single(self.layer)(fields)
        if field.features is None:
            raise ComponentError(f"Features: no outputs were captured of layer {field.origin!r}")
        rows = cosine_affinity(field.features.flatten(0, 1)).pow_(self.exponent)
        rows /= rows.sum(1, keepdim=True)
        return AttentionField(rows, field.grid, origin="features", features=field.features)
