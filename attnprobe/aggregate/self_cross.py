"""Word maps spread by self-attention: what a word names is filled out to its borders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

from attnprobe.aggregate.multiscale import Multiscale, Weights
from attnprobe.aggregate.words import apart, mean_maps, weighted_maps
from attnprobe.errors import ComponentError
from attnprobe.fields import AttentionField, WordMaps
from attnprobe.lazy import torch
from attnprobe.registry import aggregator


@aggregator("self-cross")
@dataclass(frozen=True)
class SelfCross:
    """Word maps spread by self-attention, A^p·C (DiffSegmenter, Wang et al. 2023; iSeg, 2024).

    A place takes over what the places that it attends to say of a word, p times. A is DiffSeg's
    weighted sum of the self-attention layers (Tian et al. 2024, section 3.2), C the mean word map
    of the cross-attention layers (`cross`) on A's grid. O(p·K·N²) for K words.

    iSeg (Sun et al. 2024, arXiv 2409.03209; as its program has it) takes away weak links before:
    each column of A is divided by its largest value, A becomes max(0, A + ε·log₁₀(e·A)), and rows
    are divided by their sums; a row without a link left stays where it is.

    Args:
        power: p, how many times maps are spread; 0 leaves them as they are.
        entropy: ε of iSeg, 0 for A as it is.
        renormalise: before the first step and after each, a word's map has its least value taken
            away and is divided by its sum, as iSeg does.
        word_weights: of the layers with words, by the side of their grid, such as
            ``{16: 0.7, 32: 0.3}``, each map divided by its sum first; by default all alike.
    """

    power: Annotated[int, Ge(0), Le(1024)] = 1
    entropy: Annotated[float, Ge(0), Le(1000)] = 0.0
    renormalise: bool = False
    word_weights: Weights | None = None

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
        rows = _without_weak(field.rows, self.entropy) if self.entropy else field.rows
        if self.word_weights is None:
            maps = mean_maps(spoken, field.grid)
        else:
            maps = weighted_maps(spoken, self.word_weights, field.grid, "SelfCross")
        maps = self._levelled(maps.flatten(1).T)
        for _ in range(self.power):
            maps = self._levelled(rows @ maps)
        return WordMaps(maps.T.reshape(-1, *field.grid), spoken[0].words, origin="self-cross")

    def _levelled(self, maps: torch.Tensor) -> torch.Tensor:
        """Each column (N, K) less its least value and by its sum, where that is asked for."""
        if not self.renormalise:
            return maps
        maps = maps - maps.amin(0)
        whole = maps.sum(0)
        return maps / torch.where(whole > 0, whole, 1)


def _without_weak(rows: torch.Tensor, entropy: float) -> torch.Tensor:
    """A (N, N) with each column by its largest value, weak links gone, and rows that sum to 1."""
    largest = rows.amax(0)
    links = rows / torch.where(largest > 0, largest, 1)
    links += torch.where(links == 0, 0, entropy * torch.log10(math.e * links))
    links = links.clamp_(min=0)
    alone = links.sum(1) == 0
    links.diagonal().masked_fill_(alone, 1)
    return links / links.sum(1, keepdim=True)
