"""The truth from label files: a number a pixel, at the picture's size."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from attnprobe.errors import ImageError
from attnprobe.files import printable, read_text, regular
from attnprobe.pictures.labels import check_size, label_numbers
from attnprobe.pictures.reading import MAX_PIXELS, naming, opened, picture_size


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
