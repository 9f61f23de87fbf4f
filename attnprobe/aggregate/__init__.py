"""Aggregators: many attention fields, one a layer, become one."""

from attnprobe.aggregate.cross import Cross
from attnprobe.aggregate.features import Features
from attnprobe.aggregate.flow import Flow
from attnprobe.aggregate.markov import Markov
from attnprobe.aggregate.max import Max
from attnprobe.aggregate.mean import Mean
from attnprobe.aggregate.multiscale import Multiscale
from attnprobe.aggregate.self_cross import SelfCross
from attnprobe.aggregate.single import Single
from attnprobe.aggregate.tokens import Tokens

__all__ = [
    "Cross",
    "Features",
    "Flow",
    "Markov",
    "Max",
    "Mean",
    "Multiscale",
    "SelfCross",
    "Single",
    "Tokens",
]
