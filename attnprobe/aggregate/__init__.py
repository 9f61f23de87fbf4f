"""Aggregators: many attention fields, one a layer, become one."""

from attnprobe.aggregate.flow import Flow
from attnprobe.aggregate.markov import Markov
from attnprobe.aggregate.max import Max
from attnprobe.aggregate.mean import Mean
from attnprobe.aggregate.multiscale import Multiscale
from attnprobe.aggregate.single import Single

__all__ = ["Flow", "Markov", "Max", "Mean", "Multiscale", "Single"]
