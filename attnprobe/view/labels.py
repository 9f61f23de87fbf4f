"""Labels as PNG files, whose pixels are the labels' own numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from attnprobe.data.images import opened
from attnprobe.data.labels import label_numbers
from attnprobe.errors import AttnProbeError
from attnprobe.files import write_whole
from attnprobe.view.palette import palette


def save_labels(labels: np.ndarray, path: str | Path) -> None:
    """Write labels (H, W) as a PNG: in colours by number up to 254, as 16-bit grey up to 65534.

    The largest number of each depth, 255 and 65535, is what label files say for void.

    Raises:
        AttnProbeError: they aren't whole numbers in that range, the suffix isn't .png, or the
            file can't be written.
    """
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise AttnProbeError(
            f"{path}: labels must be whole numbers of shape (H, W). "
            f"Got {labels.dtype} of shape {labels.shape} instead."
        )
    low, high = labels.min(), labels.max()
    if low < 0 or high >= 65535:
        raise AttnProbeError(
            f"{path}: labels in a PNG must be from 0 to 65534. Got {low} to {high} instead."
        )
    if Path(path).suffix.lower() != ".png":
        raise AttnProbeError(f"{path}: labels are written as PNG, so the suffix must be .png")
    if high < 255:
        picture = Image.fromarray(labels.astype(np.uint8))
        picture.putpalette(palette().tobytes())
    else:
        picture = Image.fromarray(labels.astype(np.uint16))
    with write_whole(path) as temporary:
        picture.save(temporary)


def load_labels(path: str | Path) -> np.ndarray:
    """Read labels (H, W), int32, from an indexed or grey picture of 1, 2, 4, 8 or 16 bits.

    Every number is a label; see `label_numbers` for what may be void.

    Raises:
        ImageError: the file can't be read, or its picture has other than one number a pixel.
    """
    with opened(path) as image:
        return label_numbers(image).astype(np.int32)
