"""BSDS500: photographs that several people cut into regions, each as they saw fit.

    root/
      images/val/101085.jpg           or all of it in BSDS500/data/ or BSR/BSDS500/data/
      groundTruth/val/101085.mat

BSR_bsds500.tgz, 70 MB: 200 pictures for training, 100 for validation and 200 for testing, 481×321
or 321×481, for research and teaching. A .mat file has a cell `groundTruth` with a structure for
each of 4 to 9 people, whose `Segmentation` numbers that person's regions from 1.
Arbeláez et al., "Contour Detection and Hierarchical Image Segmentation", PAMI 2011.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from attnprobe.data.base import VOID, Count, PathText, Start
from attnprobe.data.benchmark import Benchmark, Part, Parts
from attnprobe.data.truths import matlab_variable
from attnprobe.errors import ImageError
from attnprobe.pictures.labels import check_size
from attnprobe.pictures.reading import naming, picture_size
from attnprobe.registry import source

_HAD = (
    "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz (70 MB) "
    "or https://github.com/BIDS/BSDS500"
)
_BELOW = ("", "BSDS500/data/", "BSR/BSDS500/data/")
"""Where images/ and groundTruth/ may lie below the root."""


@source("bsds500")
@dataclass(frozen=True)
class Bsds500(Benchmark):
    """BSDS500, whose truth is several people's: 4 to 9 segmentations of each photograph.

    Regions have no classes. The protocol `bsds` scores as the benchmark does; the others take each
    person's regions as classes of their own.

    Args:
        root: folder with images/ and groundTruth/, or with the archive's BSR/ or BSDS500/.
        split: ``val``, ``train`` or ``test``.
        count: how many pictures; all by default.
        start: number of the first.
    """

    root: PathText
    split: Literal["val", "train", "test"] = "val"
    count: Count | None = None
    start: Start = 0

    @property
    def classes(self) -> None:
        """None: each person's regions are their own."""

    def parts(self) -> Parts:
        """Pictures and label files."""
        return Parts(
            Part(tuple(f"{below}images/{self.split}" for below in _BELOW), _HAD, ".jpg"),
            Part(tuple(f"{below}groundTruth/{self.split}" for below in _BELOW), _HAD, ".mat"),
        )

    def truth(self, picture: Path, label: Path) -> Callable[[], tuple[np.ndarray, ...]]:
        """What reads the people's segmentations of a picture."""
        return partial(_read_people, picture, label)


def _read_people(picture: Path, label: Path) -> tuple[np.ndarray, ...]:
    """The segmentations (H, W) of a picture, int32 from 0, one a person.

    Args:
        picture: its file, of which only the size is read.
        label: the .mat file.

    Raises:
        ImageError: the file is missing, unreadable or of another form, or a segmentation has
            another size than the picture.
    """
    cells = matlab_variable(label, "groundTruth")
    size = picture_size(picture)
    with naming(label):
        if cells.dtype != object or not cells.size:
            raise ImageError("groundTruth must be a cell with a structure for each person")
        return tuple(_segmentation(cell, size) for cell in cells.flat)


def _segmentation(cell: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if "Segmentation" not in (cell.dtype.names or ()) or cell.size != 1:
        raise ImageError("a person in groundTruth has no Segmentation")
    stored = np.asarray(cell["Segmentation"].item())
    # MATLAB's own numbers are doubles; whole ones are as good.
    if stored.ndim != 2 or stored.dtype.kind not in "iuf" or (stored % 1).any():
        raise ImageError(
            "a Segmentation must be whole numbers of shape (H, W). "
            f"Got {stored.dtype} of shape {stored.shape} instead."
        )
    check_size(stored, size)
    labels = stored.astype(np.int32) - 1
    if labels.min() < VOID:
        raise ImageError(f"a Segmentation's numbers are 0 or more. Got {stored.min()} instead.")
    return labels
