"""A map over its picture: dark where it is low, bright where it is high."""

from __future__ import annotations

import numpy as np
from PIL import Image

from attnprobe.pictures.viridis import VIRIDIS


def heat(picture: Image.Image, values: np.ndarray, alpha: float = 0.6) -> Image.Image:
    """The picture with a map over it, from its least value to its largest in viridis.

    Args:
        picture: what was looked at.
        values: (h, w) finite; enlarged bilinearly to the picture.
        alpha: how much the map's colours cover, from 0 to 1.
    """
    low, high = float(values.min()), float(values.max())
    level = (values - low) / (high - low) if high > low else np.zeros_like(values)
    grey = Image.fromarray((255 * level + 0.5).astype(np.uint8))
    places = np.asarray(grey.resize(picture.size, Image.Resampling.BILINEAR))
    return Image.blend(picture.convert("RGB"), Image.fromarray(VIRIDIS[places]), alpha)
