"""What is kept of an image's attention, so that it can be explored when the model is gone.

A file an image, ``maps/<image>.npz``, of a few hundred kilobytes: the part of the picture that was
segmented, at most 512 pixels a side, and its aggregated attention pooled to at most 32² tokens.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from attnprobe.arrays import read_arrays
from attnprobe.errors import RunError
from attnprobe.fields import AttentionField, Size
from attnprobe.files import make_folder, write_whole
from attnprobe.resample import pool, pooled_grid

SIDE = 32
"""Maps are pooled to at most this number squared of tokens."""

_PICTURE_SIDE = 512
"""Pixels of the picture's longer side."""


_LARGEST = 8 * SIDE**4
"""Bytes of an array in a file of maps; what is written has an eighth of that."""


@dataclass(frozen=True, eq=False)
class KeptMaps:
    """A picture and its pooled attention.

    Args:
        picture: what was segmented, at most 512 pixels a side.
        field: its aggregated attention on at most 32² tokens, each entry within 1/100 of its
            row's largest.
        grid: (H, W) of the field before it was pooled.
    """

    picture: Image.Image
    field: AttentionField
    grid: Size


def save_maps(path: Path, picture: Image.Image, field: AttentionField) -> None:
    """Pool a field and write it with its picture; equal ones give equal bytes.

    Entries are kept as square roots in 8 bits: what DiffSeg compares are logarithms, which small
    entries in 8 bits of their own would spoil.

    Args:
        path: the file; its folder is made.
        picture: what was segmented, all of it.
        field: its aggregated attention.

    Raises:
        AttnProbeError: the file can't be written.
    """
    grid = pooled_grid(field.grid, SIDE)
    rows = pool(field.rows, field.grid, grid).cpu().numpy()
    scales = rows.max(1).astype(np.float32)
    roots = np.rint(255 * np.sqrt(rows / scales[:, None])).astype(np.uint8)
    make_folder(path.parent)
    with write_whole(path) as temporary:
        np.savez_compressed(
            temporary,
            roots=roots,
            scales=scales,
            grids=np.array([grid, field.grid], np.int32),
            picture=np.frombuffer(jpeg(picture), np.uint8),
        )


def load_maps(path: Path) -> KeptMaps:
    """Read what `save_maps` wrote.

    Raises:
        RunError: there is no such file, or it holds something else.
    """
    try:
        file = read_arrays(path, _LARGEST)
        roots, scales = file["roots"], file["scales"]
        grid, before = ((int(h), int(w)) for h, w in file["grids"])
        picture = read_jpeg(file["picture"].tobytes())
        # An exact zero would be infinitely far from all else; half a step is the best guess at it.
        entries = (np.maximum(roots, 0.5) / 255) ** 2 * scales[:, None]
        rows = torch.from_numpy(entries / entries.sum(1, keepdims=True))
        return KeptMaps(picture, AttentionField(rows, grid, "aggregated"), before)
    except FileNotFoundError:
        raise RunError(f"{path}: no maps were kept of this image") from None
    except Exception as error:  # broken files raise errors of every kind
        raise RunError(f"{path}: can't be read: {error}") from None


def jpeg(picture: Image.Image) -> bytes:
    """A picture as JPEG, at most 512 pixels a side."""
    small = picture.convert("RGB")
    small.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=90)
    return file.getvalue()


def read_jpeg(content: bytes) -> Image.Image:
    """What `jpeg` made.

    Raises:
        ValueError: it is larger.
        Exception: of any kind, where it is something else.
    """
    picture = Image.open(io.BytesIO(content), formats=["JPEG"])
    if max(picture.size) > _PICTURE_SIDE:
        raise ValueError(f"a picture of {picture.width}×{picture.height} is too large")
    picture.load()
    return picture
