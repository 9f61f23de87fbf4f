"""A picture with its segments in colour over it and lines between them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from attnprobe.errors import AttnProbeError
from attnprobe.pictures.palette import ranked_by_area, segment_colours


def overlay(image: Image.Image, labels: np.ndarray, alpha: float = 0.55) -> Image.Image:
    """Lay each segment's colour over the picture, and a white line between segments.

    The colours go by area (see `ranked_by_area`), the lines are a five-hundredth of the longer
    side wide. Memory beyond the pictures and the labels is bounded, whatever their size.

    Args:
        image: the picture.
        labels: (H, W) whole numbers at the picture's size; −1 (void) is left uncoloured.
        alpha: how much the colours cover, from 0 to 1.

    Raises:
        AttnProbeError: the labels' size isn't the picture's, they aren't whole numbers, or `alpha`
            is out of range.
    """
    if not isinstance(image, Image.Image):
        raise AttnProbeError(
            f"overlay: the picture must be a PIL image. Got {type(image).__name__} instead."
        )
    if labels.shape != (image.height, image.width):
        raise AttnProbeError(
            "overlay: labels must have the picture's height and width, "
            f"{(image.height, image.width)}. Got {labels.shape} instead."
        )
    if not 0 <= alpha <= 1:
        raise AttnProbeError(f"overlay: alpha must be from 0 to 1. Got {alpha} instead.")
    labels, rank = ranked_by_area(labels)
    tint = np.float32(alpha) * segment_colours(rank)
    keep = np.where(rank < 0, 1, 1 - alpha).astype(np.float32)[:, None]
    height, width = labels.shape
    line = max(1, round(max(height, width) / 500))
    result = Image.new("RGB", image.size)
    band = max(1, _BAND_PIXELS // width)
    for top in range(0, height, band):
        rows = np.arange(top, min(top + band, height))
        part = image.crop((0, top, width, rows[-1] + 1)).convert("RGB")
        place = labels[rows] + 1
        pixels = np.asarray(part) * keep[place] + tint[place]
        pixels[_lines(labels, rows, line)] = 255
        result.paste(Image.fromarray((pixels + 0.5).astype(np.uint8)), (0, top))
    return result


_BAND_PIXELS = 1 << 20


def _lines(labels: np.ndarray, rows: np.ndarray, width: int) -> np.ndarray:
    """Where, in some rows, a line `width` pixels wide runs between segments: a boolean mask.

    A pixel is on a line if the labels half the line's width before and after it differ.
    """
    before, after = width // 2, width - width // 2
    above, below = (rows - before).clip(0), (rows + after).clip(max=labels.shape[0] - 1)
    columns = np.arange(labels.shape[1])
    left, right = (columns - before).clip(0), (columns + after).clip(max=labels.shape[1] - 1)
    here = labels[rows]
    return (labels[above] != labels[below]) | (here[:, left] != here[:, right])
