"""A histogram as a page draws it: report_plot.svg.jinja has the shapes, this their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WIDTH, HEIGHT = 400, 190
LEFT, RIGHT, TOP, BOTTOM = 34, WIDTH - 14, 24, HEIGHT - 38
"""Edges of the area that the bars have."""

PLACES = {
    "width": WIDTH,
    "height": HEIGHT,
    "left": LEFT,
    "right": RIGHT,
    "top": TOP,
    "bottom": BOTTOM,
}
"""The same by name, for the template."""


@dataclass(frozen=True)
class Histogram:
    """How many values lie between each two edges.

    Args:
        title: what the values are.
        values: the numbers, one at least, all within the edges.
        edges: (bins + 1,), ascending.
    """

    title: str
    values: Sequence[float]
    edges: np.ndarray

    @property
    def mean(self) -> float:
        """The mean of the values."""
        return float(np.mean(self.values))

    @property
    def counts(self) -> np.ndarray:
        """(bins,) how many values there are between each two edges."""
        return np.histogram(self.values, self.edges)[0]

    def x(self, value: float) -> float:
        """Where a value lies across."""
        low, high = self.edges[[0, -1]]
        return round(float(LEFT + (value - low) / (high - low) * (RIGHT - LEFT)), 1)

    def y(self, count: int) -> float:
        """Where a bar of so many ends."""
        return round(float(BOTTOM - count / self.counts.max() * (BOTTOM - TOP)), 1)

    @property
    def bars(self) -> list[dict[str, Any]]:
        """Those that aren't empty: place, size, count and range."""
        return [
            {
                "x": self.x(left) + 0.5,
                "y": self.y(count),
                "width": round(self.x(right) - self.x(left) - 1, 1),
                "height": round(BOTTOM - self.y(count), 1),
                "count": int(count),
                "range": f"{left:.3g} to {right:.3g}",
            }
            for count, left, right in zip(self.counts, self.edges, self.edges[1:], strict=False)
            if count
        ]

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Place and text of about six numbers below the bars."""
        some = self.edges[:: -(-(len(self.edges) - 1) // 5)]
        return [(self.x(value), f"{value:.3g}") for value in some]


def score_histogram(scores: Sequence[float]) -> Histogram:
    """Scores from 0 to 1, in twenty bins."""
    return Histogram("mIoU", scores, np.linspace(0, 1, 21))


def count_histogram(counts: Sequence[int]) -> Histogram:
    """Numbers of segments, in at most twenty bins of whole numbers."""
    low, high = min(counts), max(counts) + 1
    step = -(-(high - low) // 20)
    bins = -(-(high - low) // step)
    return Histogram("segments", counts, low + step * np.arange(bins + 1))
