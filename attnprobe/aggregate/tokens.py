"""Where on the picture every token of the text is looked at from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from attnprobe.aggregate.words import apart, mean_maps
from attnprobe.fields import WordMaps
from attnprobe.registry import aggregator


@aggregator("tokens")
@dataclass(frozen=True)
class Tokens:
    """Maps of all the text's tokens, of an empty prompt too (Seg4Diff, arXiv 2509.18096).

    In joint attention with an empty prompt, start, end and padding tokens each draw the attention
    of a part of the picture. Each token's map is the mean over layers and heads of the share of
    attention that a place pays to it, every layer enlarged to the finest grid first. O(L·K·N).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})

    def __call__(self, fields: Sequence[WordMaps]) -> WordMaps:
        """Fold one set of tokens' maps a layer into one on the finest grid."""
        _, layers = apart(fields, "Tokens")
        return WordMaps(mean_maps(layers), layers[0].words, origin="tokens")
