"""Conformance checks for components, ours and everybody's.

A plug-in's test is one line::

    def test_it_keeps_the_contract():
        check_grouper(MyGrouper(clusters=3))

All of them need no diffusion model. A component must be a frozen dataclass with a docstring that
explains every field, equal to itself after pickling. Equal calls must give equal answers whatever
NumPy's and PyTorch's own generators hold, and what is handed to it may not change. What is out of
the ordinary (one token, exact zeros, all alike) it may refuse, with an `AttnProbeError`. Fields
with NaN or without attention are none of its business: `AttentionField` refuses them, and
`Pipeline` words' maps with NaN.
"""

from attnprobe.testing.aggregators import check_aggregator
from attnprobe.testing.groupers import check_grouper
from attnprobe.testing.labellers import check_labeller
from attnprobe.testing.refiners import check_refiner
from attnprobe.testing.samples import sample_fields, sample_layers, sample_words
from attnprobe.testing.sources import check_source

__all__ = [
    "check_aggregator",
    "check_grouper",
    "check_labeller",
    "check_refiner",
    "check_source",
    "sample_fields",
    "sample_layers",
    "sample_words",
]
