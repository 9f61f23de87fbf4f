"""Pascal VOC 2012, segmentation.

    root/VOCdevkit/VOC2012/
      JPEGImages/2007_000033.jpg
      SegmentationClass/2007_000033.png
      ImageSets/Segmentation/val.txt

VOCtrainval_11-May-2012.tar, 2 GB: 1,464 pictures for training and 1,449 for validation, under
Flickr's terms of use. The label files have 0 for the background, 1 to 20 for the classes and 255
for the border around objects.
Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from attnprobe.data.base import Count, PathText, Start
from attnprobe.data.benchmark import Benchmark, Part, Parts
from attnprobe.registry import source

_HAD = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar (2 GB)"


@source("pascal-voc")
@dataclass(frozen=True)
class PascalVoc(Benchmark):
    """Pascal VOC 2012 in 21 classes, or in 20 without the background.

    Args:
        root: folder with VOCdevkit/VOC2012/.
        split: ``val``, ``train`` or ``trainval``.
        background: whether it is a class, label 0; void otherwise.
        count: how many pictures; all by default.
        start: number of the first.
    """

    table: ClassVar = "pascal-voc"
    root: PathText
    split: Literal["val", "train", "trainval"] = "val"
    background: bool = True
    count: Count | None = None
    start: Start = 0

    def parts(self) -> Parts:
        """Pictures, label files and the split's list."""
        kit = "VOCdevkit/VOC2012"
        return Parts(
            Part((f"{kit}/JPEGImages",), _HAD, ".jpg"),
            Part((f"{kit}/SegmentationClass",), _HAD, ".png"),
            Part((f"{kit}/ImageSets/Segmentation/{self.split}.txt",), _HAD),
        )
