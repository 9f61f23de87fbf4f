"""What a run keeps to look at words by: each word's map, and the picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from attnprobe.arrays import read_arrays
from attnprobe.errors import RunError
from attnprobe.fields import WordMaps
from attnprobe.files import make_folder, write_whole
from attnprobe.run.kept_maps import jpeg, read_jpeg

_LARGEST = 1 << 30
"""Bytes of an array in a file of words."""


@dataclass(frozen=True, eq=False)
class KeptWords:
    """A picture and the maps of its words.

    Args:
        picture: what was segmented, at most 512 pixels a side.
        maps: of the words, in half precision.
    """

    picture: Image.Image
    maps: WordMaps


def save_words(path: Path, picture: Image.Image, maps: WordMaps) -> None:
    """Write maps of words with their picture; equal ones give equal bytes.

    Args:
        path: the file; its folder is made.
        picture: what was segmented, all of it.
        maps: of its words.

    Raises:
        AttnProbeError: the file can't be written.
    """
    make_folder(path.parent)
    largest = maps.maps.amax().clamp(min=torch.finfo(torch.float32).tiny)
    with write_whole(path) as temporary:
        np.savez_compressed(
            temporary,
            maps=(maps.maps / largest).half().cpu().numpy(),
            largest=np.float32(largest.item()),
            words=np.frombuffer(json.dumps(maps.words).encode(), np.uint8),
            picture=np.frombuffer(jpeg(picture), np.uint8),
        )


def load_words(path: Path) -> KeptWords:
    """Read what `save_words` wrote.

    Raises:
        RunError: there is no such file, or it holds something else.
    """
    try:
        file = read_arrays(path, _LARGEST)
        words = tuple(json.loads(file["words"].tobytes()))
        maps = torch.from_numpy(np.array(file["maps"])).float() * float(file["largest"])
        return KeptWords(read_jpeg(file["picture"].tobytes()), WordMaps(maps, words, "kept"))
    except FileNotFoundError:
        raise RunError(f"{path}: no maps of words were kept of this image") from None
    except Exception as error:  # broken files raise errors of every kind
        raise RunError(f"{path}: can't be read: {error}") from None
