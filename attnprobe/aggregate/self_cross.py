"""Word maps spread by self-attention: what a word names is filled out to its borders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from attnprobe.aggregate.multiscale import Multiscale
from attnprobe.aggregate.words import apart, mean_maps
from attnprobe.errors import ComponentError
from attnprobe.fields import AttentionField, WordMaps
from attnprobe.registry import aggregator


@aggregator("self-cross")
@dataclass(frozen=True)
class SelfCross:
    """Word maps spread by self-attention, A^p·C (DiffSegmenter, Wang et al. 2023; iSeg, 2024).

    A place takes over what the places that it attends to say of a word, p times. A is DiffSeg's
    weighted sum of the self-attention layers (Tian et al. 2024, section 3.2), C the mean word map
    of the cross-attention layers (`cross`) on A's grid. O(p·K·N²) for K words.

    Args:
        power: p, how many times maps are spread; 0 leaves them as they are.
    """

    power: Annotated[int, Ge(0), Le(1024)] = 1

    needs: ClassVar[frozenset[str]] = frozenset({"maps", "words"})

    def __call__(self, fields: Sequence[AttentionField | WordMaps]) -> WordMaps:
        """Fold the layers' fields and word maps into word maps on the finest field's grid.

        Raises:
            ComponentError: there is no layer of the one sort or of the other.
        """
        places, spoken = apart(fields, "SelfCross")
        if not places:
            raise ComponentError("SelfCross: needs at least one attention field. Got none.")
        field = Multiscale()(places)
        maps = mean_maps(spoken, field.grid).flatten(1).T
        for _ in range(self.power):
            maps = field.rows @ maps
        return WordMaps(maps.T.reshape(-1, *field.grid), spoken[0].words, origin="self-cross")
