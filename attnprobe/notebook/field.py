"""A field of attention as a notebook shows it: the maps of nine tokens."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from attnprobe.notebook.segmentation import data_uri
from attnprobe.pictures.viridis import VIRIDIS

_LEVELS = 254
"""Colours of a map; the last two of 256 are the gap's white and the red of the token itself."""

_GAP, _TOKEN = 254, 255

_SMALLEST = 300
"""Pixels of the longer side as shown, at least about."""


def field_html(field: Any) -> str:
    """A field as a piece of HTML that needs no other file.

    It shows the maps of up to nine tokens that are spread over the grid, each from 0 to its own
    99th percentile with its token in red, and says the grid and where the field came from.
    """
    height, width = field.grid
    rows, columns = _spread(height), _spread(width)
    mosaic = np.full((len(rows) * (height + 1) - 1, len(columns) * (width + 1) - 1), _GAP)
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            top, left = i * (height + 1), j * (width + 1)
            mosaic[top : top + height, left : left + width] = _levels(field, y, x)
    count = len(rows) * len(columns)
    origin = f" from {escape(field.origin)}" if field.origin else ""
    caption = (
        f"AttentionField{origin}, {height}×{width}: {count} of {height * width} maps, "
        f"each of the token in red"
    )
    scale = max(1, _SMALLEST // max(mosaic.shape))
    return (
        '<figure style="display: inline-block; margin: 0">'
        f'<img src="{data_uri(mosaic, _colours())}" alt="{caption}"'
        f' width="{mosaic.shape[1] * scale}" height="{mosaic.shape[0] * scale}"'
        ' style="image-rendering: pixelated">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _spread(side: int) -> list[int]:
    """Up to three places, in the middle of each third of a side."""
    return [int(place) for place in np.unique((2 * np.arange(3) + 1) * side // 6)]


def _levels(field: Any, y: int, x: int) -> np.ndarray:
    values = field.map_at(y, x).cpu().numpy()
    share = values / (np.quantile(values, 0.99) or 1.0)
    levels = np.round(share.clip(0, 1) * (_LEVELS - 1)).astype(np.uint8)
    levels[y, x] = _TOKEN
    return levels


def _colours() -> np.ndarray:
    ramp = VIRIDIS[(256 * np.linspace(0, 1, _LEVELS)).astype(int).clip(max=255)]
    return np.concatenate([ramp, [[255, 255, 255], [230, 0, 0]]]).astype(np.uint8)
