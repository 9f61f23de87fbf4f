"""The truth from label files: a number a pixel, at the picture's size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from attnprobe.data.images import naming, opened, picture_size, printable
from attnprobe.errors import ImageError


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
    """The numbers (H, W), int32, of an indexed or grey picture of 1, 8 or 16 bits.

    Raises:
        ImageError: it has other than one number a pixel.
    """
    if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
        raise ImageError(f"labels must be an indexed or grey picture. Got mode {image.mode}")
    return np.asarray(image).astype(np.int32)


def check_size(labels: np.ndarray, size: tuple[int, int]) -> None:
    """Refuse labels of another height and width than the picture's."""
    if labels.shape != size:
        got, wanted = (f"{width}×{height}" for height, width in (labels.shape, size))
        raise ImageError(f"labels must have their picture's size, {wanted}. Got {got} instead.")


def _label_map(path: Path) -> np.ndarray:
    """The matrix `LabelMap` of a MATLAB file, int32."""
    return matlab_variable(path, "LabelMap").astype(np.int32)


def matlab_variable(path: Path, name: str) -> np.ndarray:
    """A variable of a MATLAB file.

    Raises:
        ImageError: the file can't be read, or hasn't got it.
    """
    from scipy.io import loadmat

    with naming(path), open(path, "rb") as file:
        content = loadmat(file)
        if name not in content:
            raise ImageError(f"a MATLAB file without a {name}")
        return content[name]


def name_list(path: Path) -> list[str]:
    """The names that a text file lists, the first word of each line; none twice.

    Raises:
        ImageError: it can't be read, isn't text, or lists nothing.
    """
    try:
        words = [line.split()[:1] for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ImageError(f"{printable(path)}: can't be read: {reason}") from error
    names = list(dict.fromkeys(word for line in words for word in line))
    if not names:
        raise ImageError(f"{printable(path)}: lists no pictures")
    return names
