"""Figures for papers and notebooks: attention maps, segments and what thresholds do."""

from attnprobe.view.plots.attention import attention_grid, head_grid
from attnprobe.view.plots.curves import threshold_curve
from attnprobe.view.plots.matrix import affinity
from attnprobe.view.plots.plot import COLUMN, PAGE, Plot, style
from attnprobe.view.plots.soft import proposals
from attnprobe.view.plots.steps import segments_over_time
from attnprobe.view.plots.words import (
    word_maps,
    word_over_heads,
    word_over_layers,
    word_over_steps,
)

__all__ = [
    "COLUMN",
    "PAGE",
    "Plot",
    "affinity",
    "attention_grid",
    "head_grid",
    "proposals",
    "segments_over_time",
    "style",
    "threshold_curve",
    "word_maps",
    "word_over_heads",
    "word_over_layers",
    "word_over_steps",
]
