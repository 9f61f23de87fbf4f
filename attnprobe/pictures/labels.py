"""Labels in files that any program reads as numbers: grey PNG, indexed pictures, or arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from attnprobe.errors import AttnProbeError, ImageError
from attnprobe.files import write_whole
from attnprobe.pictures.reading import opened


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


def label_numbers(image: Image.Image) -> np.ndarray:
    """The numbers (H, W) that a picture's file has, in the type of its depth: uint8 or uint16.

    Files of 1, 2, 4 and 8 bits give uint8, those of 16 uint16; so the largest number of the type
    is what pictures of that depth say for void.

    Args:
        image: indexed or grey, a PNG or a TIFF, opened and not loaded: only so is it known how the
            numbers are stored, which Pillow stretches to 0…255 where they have 2 or 4 bits.

    Raises:
        ImageError: it has other than one number a pixel, or in a form that doesn't keep them.
    """
    if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        raise ImageError(f"labels must be an indexed or grey picture. Got mode {image.mode}")
    if image.format not in ("PNG", "TIFF"):
        raise ImageError(f"labels must be a PNG or TIFF picture. Got {image.format}")
    stored = _raw_mode(image)
    if stored not in _STRETCHED:
        raise ImageError(
            f"labels must be whole numbers of 1, 2, 4, 8 or 16 bits. Got a {image.format} that "
            f"stores them as {stored}"
        )
    deep = image.mode.startswith("I")
    return np.asarray(image).astype(np.uint16 if deep else np.uint8) // _STRETCHED[stored]


_STRETCHED = {
    **dict.fromkeys(("1", "L", "P", "P;1", "P;2", "P;4", "I;16", "I;16B", "I;16N"), 1),
    "L;2": 85,
    "L;4": 17,
}
"""How numbers are stored that are kept, and by what Pillow multiplies them when it loads them."""


def _raw_mode(image: Image.Image) -> str:
    """How the numbers are stored, or what changed them on the way."""
    compression = str(image.info.get("compression", ""))
    if "jpeg" in compression or "webp" in compression:
        return compression
    tags = getattr(image, "tag_v2", {})
    if tags.get(262) == 0:
        return "white is zero"
    tiles = [tile[3] for tile in getattr(image, "tile", ())]
    stored = {tile if isinstance(tile, str) else tile[0] for tile in tiles}
    return stored.pop() if len(stored) == 1 else "unknown"


def check_size(labels: np.ndarray, size: tuple[int, int]) -> None:
    """Refuse labels of another height and width than the picture's."""
    if labels.shape != size:
        got, wanted = (f"{width}×{height}" for height, width in (labels.shape, size))
        raise ImageError(f"labels must have their picture's size, {wanted}. Got {got} instead.")
