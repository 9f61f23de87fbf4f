"""Labels as files that any program reads as numbers: grey PNG, or arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from attnprobe.data.images import opened
from attnprobe.data.labels import label_numbers
from attnprobe.errors import AttnProbeError
from attnprobe.files import write_whole


def save_labels(labels: np.ndarray, path: str | Path) -> None:
    """Write labels (H, W) as grey: 8 bits up to number 254, 16 bits up to 65534; or as a .npy.

    The largest number of each depth, 255 and 65535, is what label files say for void. A picture
    without a palette is what OpenCV, scikit-image and Matplotlib read as numbers; colours stand in
    overlays.

    Raises:
        AttnProbeError: they aren't whole numbers in that range, the suffix is neither .png nor
            .npy, or the file can't be written.
    """
    if labels.ndim != 2 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise AttnProbeError(
            f"{path}: labels must be whole numbers of shape (H, W). "
            f"Got {labels.dtype} of shape {labels.shape} instead."
        )
    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".npy"):
        raise AttnProbeError(f"{path}: labels are written as .png or .npy, which the suffix says")
    if suffix == ".npy":
        with write_whole(path) as temporary, open(temporary, "wb") as file:
            np.save(file, labels)
        return
    low, high = labels.min(), labels.max()
    if low < 0 or high >= 65535:
        raise AttnProbeError(
            f"{path}: labels in a PNG must be from 0 to 65534. Got {low} to {high} instead."
        )
    picture = Image.fromarray(labels.astype(np.uint8 if high < 255 else np.uint16))
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
