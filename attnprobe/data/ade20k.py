"""ADE20K as its scene parsing benchmark has it.

    root/ADEChallengeData2016/
      images/validation/ADE_val_00000001.jpg
      annotations/validation/ADE_val_00000001.png

ADEChallengeData2016.zip, 923 MB: 20,210 pictures for training and 2,000 for validation, for
non-commercial research and education. The label files have 0 for none and 1 to 150 for the classes.
Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from attnprobe.data.base import Count, PathText, Start
from attnprobe.data.benchmark import Benchmark, Part, Parts
from attnprobe.registry import source

_HAD = "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip (923 MB)"


@source("ade20k")
@dataclass(frozen=True)
class Ade20k(Benchmark):
    """ADE20K in the 150 classes of its scene parsing benchmark; what has none is void.

    Args:
        root: folder with ADEChallengeData2016/.
        split: ``validation`` or ``training``.
        count: how many pictures; all by default.
        start: number of the first.
    """

    table: ClassVar = "ade20k"
    root: PathText
    split: Literal["validation", "training"] = "validation"
    count: Count | None = None
    start: Start = 0

    def parts(self) -> Parts:
        """Pictures and label files."""
        folder = "ADEChallengeData2016"
        return Parts(
            Part((f"{folder}/images/{self.split}",), _HAD, ".jpg"),
            Part((f"{folder}/annotations/{self.split}",), _HAD, ".png"),
        )
