"""A segmentation as a notebook shows it."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from attnprobe.pictures.legend import legend
from attnprobe.pictures.palette import COLOURS, palette, ranked_by_area

_SMALLEST, _LARGEST = 256, 512
"""Pixels of the longer side as shown: less is enlarged, more is thinned out."""


def segmentation_html(segmentation: Any) -> str:
    """A segmentation as a piece of HTML that needs no other file.

    It shows the labels in the overlay's colours, the number of segments, the size, and the names
    where there are some, by area.
    """
    labels, rank = ranked_by_area(segmentation.labels)
    thinned = labels[np.ix_(*_thinned(labels.shape))]
    height, width = np.array(thinned.shape) * max(1, _SMALLEST // max(thinned.shape))
    count = segmentation.count
    caption = f"{count} segment{'s' * (count != 1)}, {labels.shape[0]}×{labels.shape[1]}"
    address = data_uri(rank[thinned + 1] % COLOURS, palette())
    return (
        '<figure style="display: inline-block; margin: 0">'
        f'<img src="{address}" alt="{caption}" width="{width}"'
        f' height="{height}" style="image-rendering: pixelated">'
        f"<figcaption>{caption}{_legend(segmentation)}</figcaption></figure>"
    )


def _thinned(shape: tuple[int, ...]) -> list[np.ndarray]:
    """The rows and the columns that are left when the longer side is at most `_LARGEST`."""
    ratio = max(1, max(shape) / _LARGEST)
    sides = [(side, max(1, round(side / ratio))) for side in shape]
    return [((np.arange(few) + 0.5) * side / few).astype(int) for side, few in sides]


def data_uri(indices: np.ndarray, colours: np.ndarray) -> str:
    """A picture (H, W) of numbers into up to 256 colours (K, 3), uint8, as a PNG's address."""
    picture = Image.fromarray(indices.astype(np.uint8))
    picture.putpalette(colours.tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _legend(segmentation: Any) -> str:
    """The names of the segments there are, each beside its colour."""
    lines = legend(segmentation.labels, segmentation.names) if segmentation.names else []
    return "".join(
        f'<br><span style="color: {line.colour}">■</span> {escape(line.name)}'
        for line in lines
        if line.name is not None
    )
