"""DAAM's aggregation: where on the picture each word of the prompt is looked at from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from attnprobe.aggregate.words import apart, mean_maps
from attnprobe.fields import WordMaps
from attnprobe.registry import aggregator


@aggregator("cross")
@dataclass(frozen=True)
class Cross:
    """Word maps from cross-attention (DAAM, Tang et al., ACL 2023, section 3).

    Each word's map is the mean over layers, heads and steps of the attention paid to any of its
    tokens, every layer enlarged to the finest grid first. DAAM sums where this takes means, and
    enlarges bicubically, which makes values below 0; here it is bilinear. O(L·K·N) for L layers
    and K words.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"words"})

    def __call__(self, fields: Sequence[WordMaps]) -> WordMaps:
        """Fold one set of word maps a layer into one on the finest grid."""
        _, layers = apart(fields, "Cross")
        return WordMaps(mean_maps(layers), layers[0].words, origin="cross")
