"""The pictures that `tiny` learns from: drawn scenes in four styles, and crops of photographs.

A picture is a function of its kind and number (and, for photographs, of the files) alone, so that a
process pool may draw them in any order.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from attnprobe.data.scenes import SIZE, Style, make_scene

Kind = Literal["scene", "photo-like", "photograph"]
KINDS: tuple[Kind, ...] = ("scene", "photo-like", "photograph")

STYLES: tuple[Style, ...] = ("as-is",) * 8 + ("sketch", "paint")
"""Style of the scene of number n: STYLES[n % 10]."""

EMPTY_CAPTIONS = 0.15

SMALLEST_CROP = 0.08
"""Share of a photograph's area, at least, that a crop of it shows."""


CHUNK = 128
"""Pictures drawn and carried at a time."""


def training_picture(
    kind: Kind, number: int, photographs: tuple[str, ...] = ()
) -> tuple[np.ndarray, str]:
    """A picture (128, 128, 3) uint8 and its caption, "" for photographs.

    Scenes are flipped and turned; of 15 % the caption is left out and the colour channels, which a
    caption would belie, are permuted.

    Args:
        kind: ``scene``, ``photo-like`` or ``photograph``.
        number: which of its kind.
        photographs: files of photographs, for that kind.
    """
    draws = np.random.default_rng([KINDS.index(kind), number])
    if kind == "photograph":
        return _crop(photographs[number % len(photographs)], draws), ""
    style = "photo" if kind == "photo-like" else STYLES[number % len(STYLES)]
    scene = make_scene("train", number, style)
    image = scene.image
    if kind == "scene":
        image = np.rot90(image, int(draws.integers(4)))
    if draws.random() < 0.5:
        image = image[:, ::-1]
    if draws.random() < EMPTY_CAPTIONS:
        return np.ascontiguousarray(image[..., draws.permutation(3)]), ""
    return np.ascontiguousarray(image), scene.caption


def _crop(path: str, draws: np.random.Generator) -> np.ndarray:
    """A part of a photograph, all of it to a twelfth, its light and colour a little changed."""
    photograph = _opened(path)
    width, height = photograph.size
    area = np.exp(draws.uniform(np.log(SMALLEST_CROP), 0.0)) * width * height
    aspect = np.exp(draws.normal(0.0, 0.25)) * (1.0 if draws.random() < 0.5 else width / height)
    wide, high = min(width, (area * aspect) ** 0.5), min(height, (area / aspect) ** 0.5)
    left, top = draws.uniform(0, width - wide), draws.uniform(0, height - high)
    box = (left, top, left + wide, top + high)
    part = photograph.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box, reducing_gap=3.0)
    image = np.asarray(part, np.float32) / 255.0
    if draws.random() < 0.5:
        image = image[:, ::-1]
    if draws.random() < 0.1:
        image = image[..., draws.permutation(3)]
    grey = image.mean(2, keepdims=True)
    image = grey + (image - grey) * draws.uniform(0.3, 1.4)
    image = (image - 0.5) * draws.uniform(0.75, 1.25) + 0.5 + draws.uniform(-0.1, 0.1)
    image = np.clip(image * draws.uniform(0.9, 1.1, 3), 0.0, 1.0)
    found = (image * 255.0 + 0.5).astype(np.uint8)
    return _compressed(found, int(draws.integers(40, 96))) if draws.random() < 0.2 else found


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """What JPEG leaves of it."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


@lru_cache(maxsize=400)
def _opened(path: str) -> Image.Image:
    return Image.open(path).convert("RGB")


def list_photographs(folder: str | Path | None) -> tuple[str, ...]:
    """The folder's JPEG files, in order of their names; none without a folder."""
    return () if folder is None else tuple(map(str, sorted(Path(folder).glob("*.jpg"))))


class Drawn:
    """Pictures of some kinds, drawn by a pool of processes in the order in which they are wanted.

    Args:
        counts: how many of each kind; none of them is drawn twice.
        photographs: files for the kind ``photograph``.
        workers: processes.
    """

    def __init__(
        self, counts: dict[Kind, int], photographs: tuple[str, ...], workers: int | None = None
    ) -> None:
        self.counts = {kind: count for kind, count in counts.items() if count}
        self.photographs = photographs
        self.workers = workers or os.cpu_count() or 1

    def __iter__(self) -> Iterator[tuple[Kind, np.ndarray, list[str]]]:
        """(kind, pictures (n, 128, 128, 3) uint8, captions), each kind in step with its count."""
        chunks = [
            ((start + 0.5) / count, kind, range(start, min(start + CHUNK, count)))
            for kind, count in self.counts.items()
            for start in range(0, count, CHUNK)
        ]
        chunks.sort(key=lambda chunk: chunk[0])
        # forkserver or spawn: a fork of a process that holds a GPU is broken
        with ProcessPoolExecutor(self.workers, mp_context=get_context("spawn")) as pool:
            draw = partial(_draw, photographs=self.photographs)
            yield from pool.map(draw, [kind for _, kind, _ in chunks], [n for *_, n in chunks])


def _draw(
    kind: Kind, numbers: range, photographs: tuple[str, ...]
) -> tuple[Kind, np.ndarray, list[str]]:
    drawn = [training_picture(kind, number, photographs) for number in numbers]
    return kind, np.stack([image for image, _ in drawn]), [caption for _, caption in drawn]
