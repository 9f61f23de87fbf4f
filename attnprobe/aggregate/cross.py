"""DAAM's aggregation: where on the picture each word of the prompt is looked at from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from attnprobe.aggregate.words import apart, from_zero_to_one, mean_maps
from attnprobe.fields import WordMaps
from attnprobe.lazy import torch
from attnprobe.registry import aggregator


@aggregator("cross")
@dataclass(frozen=True)
class Cross:
    """Word maps from cross-attention (DAAM, Tang et al., ACL 2023, section 3).

    Each word's map is the mean over layers, heads and steps of the attention paid to any of its
    tokens, every layer enlarged to the finest grid first. DAAM sums where this takes means, and
    enlarges bicubically, which makes values below 0; here it is bilinear. O(L·K·N) for L layers
    and K words.

    Args:
        shares: each place's values are divided by their sum over the words, and each word's map
            then brought from 0 to 1 over the places (GoCA, 2025, whose normalisation it is; start
            and padding tokens, which it leaves out, are no words here).
    """

    shares: bool = False

    needs: ClassVar[frozenset[str]] = frozenset({"words"})

    def __call__(self, fields: Sequence[WordMaps]) -> WordMaps:
        """Fold one set of word maps a layer into one on the finest grid."""
        _, layers = apart(fields, "Cross")
        maps = mean_maps(layers)
        if self.shares:
            whole = maps.sum(0)
            maps = from_zero_to_one(maps / torch.where(whole > 0, whole, 1))
        return WordMaps(maps, layers[0].words, origin="cross")
