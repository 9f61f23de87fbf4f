"""The truth from label files: a number a pixel, at the picture's size."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from attnprobe.data.images import MAX_PIXELS, naming, opened, picture_size, printable
from attnprobe.errors import ImageError
from attnprobe.files import read_text, regular


def read_truth(
    picture: Path, label: Path, labels_of: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The truth (H, W) of a picture, int32, −1 for void.

    Args:
        picture: its file, of which only the size is read.
        label: the file of its labels: a grey or indexed picture, or a .mat with a `LabelMap`.
        labels_of: from the file's numbers to labels.

    Raises:
        ImageError: the label file is missing, unreadable, of another size, or has a number that
            isn't allowed.
    """
    if label.suffix == ".mat":
        stored = _label_map(label)
    else:
        with opened(label) as image:
            stored = label_numbers(image)
    size = picture_size(picture)
    with naming(label):
        check_size(stored, size)
        return labels_of(stored)


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


def _label_map(path: Path) -> np.ndarray:
    """The matrix `LabelMap` of a MATLAB file, int32."""
    given = matlab_variable(path, "LabelMap")
    most = np.iinfo(np.int32).max
    with naming(path):
        # MATLAB's numbers are floats unless somebody makes them others.
        if given.ndim != 2 or given.dtype.kind not in "iuf" or given.size == 0:
            raise ImageError(f"LabelMap must be numbers (H, W). Got {given.dtype} {given.shape}")
        if not ((given >= 0) & (given <= most) & (given == np.floor(given))).all():
            raise ImageError(f"LabelMap must have whole numbers from 0 to {most:,}")
    return given.astype(np.int32)


def matlab_variable(path: Path, name: str) -> np.ndarray:
    """A variable of a MATLAB file.

    Raises:
        ImageError: the file can't be read, hasn't got it, or it is too large for a picture's.
    """
    from scipy.io import loadmat, whosmat

    with naming(path), open(regular(path), "rb") as file:
        shapes = {known: shape for known, shape, _ in whosmat(file)}
        if name not in shapes:
            raise ImageError(f"a MATLAB file without a {name}")
        if math.prod(shapes[name]) > MAX_PIXELS:  # a small file can unpack to it
            raise ImageError(f"a {name} of {shapes[name]} is too large")
        file.seek(0)
        return loadmat(file, variable_names=[name])[name]


def name_list(path: Path) -> list[str]:
    """The names that a text file lists, the first word of each line; none twice.

    Raises:
        ImageError: it can't be read, isn't text, or lists nothing.
    """
    try:
        words = [line.split()[:1] for line in read_text(path).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ImageError(f"{printable(path)}: can't be read: {reason}") from error
    names = list(dict.fromkeys(word for line in words for word in line))
    if not names:
        raise ImageError(f"{printable(path)}: lists no pictures")
    return names
