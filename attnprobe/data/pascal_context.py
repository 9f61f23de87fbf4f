"""Pascal Context: the pictures of Pascal VOC 2010, every pixel labelled.

    root/
      VOCdevkit/VOC2010/JPEGImages/2008_000002.jpg
      VOCdevkit/VOC2010/ImageSets/Main/val.txt
      trainval/2008_000002.mat                       or VOCdevkit/VOC2010/trainval/…

VOCtrainval_03-May-2010.tar, 1.3 GB, under Flickr's terms of use, and trainval.tar.gz, 31 MB: 4,998
pictures for training and 5,105 for validation. A .mat has in `LabelMap` one of 459 numbers a pixel.
Mottaghi et al., "The Role of Context for Object Detection and Semantic Segmentation in the Wild",
CVPR 2014.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from attnprobe.data.base import Count, PathText, Start
from attnprobe.data.benchmark import Benchmark, Part, Parts
from attnprobe.registry import source

_VOC = "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar (1.3 GB)"
_CONTEXT = "https://cs.stanford.edu/~roozbeh/pascal-context/trainval.tar.gz (31 MB)"


@source("pascal-context")
@dataclass(frozen=True)
class PascalContext(Benchmark):
    """Pascal Context in its 59 most frequent classes by name, or in 60 with the background.

    Args:
        root: folder with VOCdevkit/VOC2010/ and trainval/.
        split: ``val`` or ``train``, as VOC 2010 has them.
        background: whether all the rarer classes are one, label 0; void otherwise.
        count: how many pictures; all by default.
        start: number of the first.
    """

    table: ClassVar = "pascal-context"
    root: PathText
    split: Literal["val", "train"] = "val"
    background: bool = False
    count: Count | None = None
    start: Start = 0

    def parts(self) -> Parts:
        """Pictures, label maps and the split's list."""
        kit = "VOCdevkit/VOC2010"
        return Parts(
            Part((f"{kit}/JPEGImages",), _VOC, ".jpg"),
            Part(("trainval", f"{kit}/trainval"), _CONTEXT, ".mat"),
            Part((f"{kit}/ImageSets/Main/{self.split}.txt",), _VOC),
        )
