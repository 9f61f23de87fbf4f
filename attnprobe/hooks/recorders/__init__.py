"""Recorders: what is kept of an attention call, reduced while it runs."""

from attnprobe.hooks.recorders.base import Recorder
from attnprobe.hooks.recorders.keep import Features, Keep
from attnprobe.hooks.recorders.places import token_places
from attnprobe.hooks.recorders.rows import Rows
from attnprobe.hooks.recorders.statistics import Entropy, TopK
from attnprobe.hooks.recorders.tokens import TextMaps, TokenMaps
from attnprobe.hooks.recorders.whole import HeadMax, HeadMean, PerHead, Pooled

__all__ = [
    "Entropy",
    "Features",
    "HeadMax",
    "HeadMean",
    "Keep",
    "PerHead",
    "Pooled",
    "Recorder",
    "Rows",
    "TextMaps",
    "TokenMaps",
    "TopK",
    "token_places",
]
