"""Cityscapes: street scenes from 50 cities, 2048×1024, in 27 or 19 classes.

    root/
      leftImg8bit/val/frankfurt/frankfurt_000000_000294_leftImg8bit.png
      gtFine/val/frankfurt/frankfurt_000000_000294_gtFine_labelIds.png

leftImg8bit_trainvaltest.zip, 11 GB, and gtFine_trainvaltest.zip, 241 MB: 2,975 pictures for
training and 500 for validation, for non-commercial use, after registration at
cityscapes-dataset.com. The label files have ids: 0 to 6 are void, 7 to 33 are classes.
Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from attnprobe.data.base import Count, PathText, Start
from attnprobe.data.benchmark import Benchmark, Part, Parts
from attnprobe.registry import source

_HAD = "https://www.cityscapes-dataset.com/downloads/, {} ({})"

Split = Literal["val", "train"]


def _parts(split: Split) -> Parts:
    return Parts(
        Part(
            (f"leftImg8bit/{split}",),
            _HAD.format("leftImg8bit_trainvaltest.zip", "11 GB"),
            "_leftImg8bit.png",
        ),
        Part(
            (f"gtFine/{split}",),
            _HAD.format("gtFine_trainvaltest.zip", "241 MB"),
            "_gtFine_labelIds.png",
        ),
    )


@source("cityscapes-27")
@dataclass(frozen=True)
class Cityscapes27(Benchmark):
    """Cityscapes in the 27 classes of ids 7 to 33, as PiCIE, STEGO and DiffSeg take it.

    A picture's name is that of its file without _leftImg8bit.

    Args:
        root: folder with leftImg8bit/ and gtFine/.
        split: ``val`` or ``train``.
        count: how many pictures; all by default.
        start: number of the first.
    """

    table: ClassVar = "cityscapes-27"
    root: PathText
    split: Split = "val"
    count: Count | None = None
    start: Start = 0

    def parts(self) -> Parts:
        """Pictures and label files."""
        return _parts(self.split)


@source("cityscapes-19")
@dataclass(frozen=True)
class Cityscapes19(Benchmark):
    """Cityscapes in the 19 classes of its own benchmark.

    A picture's name is that of its file without _leftImg8bit.

    Args:
        root: folder with leftImg8bit/ and gtFine/.
        split: ``val`` or ``train``.
        count: how many pictures; all by default.
        start: number of the first.
    """

    table: ClassVar = "cityscapes-19"
    root: PathText
    split: Split = "val"
    count: Count | None = None
    start: Start = 0

    def parts(self) -> Parts:
        """Pictures and label files."""
        return _parts(self.split)
