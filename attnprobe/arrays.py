"""NumPy's files, read only where what they hold is as large as it should be at most.

A file of a hundred bytes can say that it holds an array of a terabyte, and a small archive can
unpack to one.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from attnprobe.files import regular


def read_array(path: Path, largest: int) -> np.ndarray:
    """The array of a .npy file.

    Raises:
        OSError: it can't be read, or is no regular file.
        ValueError: it is no such file, holds objects, or has more than `largest` bytes.
    """
    with open(regular(path), "rb") as file:
        return _read(file, largest)


def read_arrays(path: Path, largest: int) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, by name.

    Raises:
        OSError: it can't be read, or is no regular file.
        ValueError: it is no such file, holds objects, or one has more than `largest` bytes.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    arrays[name.removesuffix(".npy")] = _read(file, largest)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(str(error)) from error
    return arrays


def _read(file: IO[bytes], largest: int) -> np.ndarray:
    version = npy.read_magic(file)
    header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if header is None:
        raise ValueError(f"an array in the format {version} can't be read")
    shape, by_columns, dtype = header(file)
    if dtype.hasobject:
        raise ValueError("it holds objects, not numbers")
    count = 1
    for length in shape:
        count *= length
    size = count * dtype.itemsize
    if not 0 <= size <= largest:
        raise ValueError(f"an array of {shape} {dtype} is too large: at most {largest:,} bytes")
    content = file.read(size)
    if len(content) < size:
        raise ValueError("it ends before its array does")
    array = np.frombuffer(content, dtype, count)
    return array.reshape(shape, order="F" if by_columns else "C")
