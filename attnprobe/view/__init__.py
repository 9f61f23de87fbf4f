"""Pictures of what was found: overlays, label files, plots for papers, notebook output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnprobe.extras import extra
from attnprobe.pictures.overlay import overlay

if TYPE_CHECKING:
    from attnprobe.view.plots import (
        COLUMN,
        PAGE,
        Plot,
        affinity,
        attention_grid,
        head_grid,
        proposals,
        segments_over_time,
        style,
        threshold_curve,
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
    "overlay",
    "proposals",
    "segments_over_time",
    "style",
    "threshold_curve",
    "word_maps",
    "word_over_heads",
    "word_over_layers",
    "word_over_steps",
]


def __getattr__(name: str) -> Any:
    """A plot, imported when it is first used: an overlay needs no Matplotlib."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with extra("plots", f"attnprobe.view.{name}"):
        from attnprobe.view import plots
    return getattr(plots, name)
