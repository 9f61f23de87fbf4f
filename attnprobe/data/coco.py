"""COCO 2017 with the pixel maps of COCO-Stuff, in 27, 171 or 80 classes.

    root/
      val2017/000000000139.jpg                  or images/val2017/…
      stuffthingmaps/val2017/000000000139.png   or annotations/val2017/…

The second form is that of COCO-Stuff's own instructions (github.com/nightrome/cocostuff). The maps
have 0 to 90 for things, 91 to 181 for stuff and 255 for what has no label. Pictures: val2017.zip,
1 GB, 5,000 of them, and train2017.zip, 18 GB, 118,287, under Flickr's terms of use; maps:
stuffthingmaps_trainval2017.zip, 659 MB, CC BY 4.0.
Caesar et al., "COCO-Stuff: Thing and Stuff Classes in Context", CVPR 2018.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar, Literal

from attnprobe.data.base import Count, PathText, Start
from attnprobe.data.benchmark import Benchmark, Part, Parts
from attnprobe.registry import source

_PICTURES = "http://images.cocodataset.org/zips/"
_MAPS = (
    "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/"
    "stuffthingmaps_trainval2017.zip (659 MB)"
)
_SIZES = {"val": "1 GB", "train": "18 GB"}
_LISTS = "https://www.robots.ox.ac.uk/~xuji/datasets/COCOStuff164kCurated.tar.gz"

Split = Literal["val", "train"]


def _parts(split: Split, ids: str | None) -> Parts:
    name = f"{split}2017"
    pictures = Part((name, f"images/{name}"), f"{_PICTURES}{name}.zip ({_SIZES[split]})", ".jpg")
    labels = Part((f"stuffthingmaps/{name}", f"annotations/{name}"), _MAPS, ".png")
    if ids is None:
        return Parts(pictures, labels)
    return Parts(pictures, labels, Part((os.path.abspath(os.path.expanduser(ids)),), _LISTS))


@source("coco-stuff-27")
@dataclass(frozen=True)
class CocoStuff27(Benchmark):
    """COCO-Stuff in 27 coarse classes, 12 things and 15 stuff, as IIC, PiCIE and DiffSeg take it.

    Published figures are over the 2,175 validation pictures that Coco164kFull_Stuff_Coarse_7.txt
    lists (in COCOStuff164kCurated.tar.gz, of IIC's authors); give it as `ids`.

    Args:
        root: folder with val2017/ and stuffthingmaps/val2017/, or images/ and annotations/.
        split: ``val`` or ``train``.
        ids: a text file with the names of the pictures that count, one a line; all by default.
        count: how many pictures; all by default.
        start: number of the first.
    """

    table: ClassVar = "coco-stuff-27"
    root: PathText
    split: Split = "val"
    ids: PathText | None = None
    count: Count | None = None
    start: Start = 0

    def parts(self) -> Parts:
        """Pictures, maps and the list."""
        return _parts(self.split, self.ids)


@source("coco-stuff-171")
@dataclass(frozen=True)
class CocoStuff171(Benchmark):
    """COCO-Stuff in its 171 classes, 80 things and 91 stuff.

    Args:
        root: folder with val2017/ and stuffthingmaps/val2017/, or images/ and annotations/.
        split: ``val`` or ``train``.
        ids: a text file with the names of the pictures that count, one a line; all by default.
        count: how many pictures; all by default.
        start: number of the first.
    """

    table: ClassVar = "coco-stuff-171"
    root: PathText
    split: Split = "val"
    ids: PathText | None = None
    count: Count | None = None
    start: Start = 0

    def parts(self) -> Parts:
        """Pictures, maps and the list."""
        return _parts(self.split, self.ids)


@source("coco-object")
@dataclass(frozen=True)
class CocoObject(Benchmark):
    """COCO's 80 objects and the background, from COCO-Stuff's maps as GroupViT takes them.

    Stuff, and what has no label, is background. Xu et al., "GroupViT", CVPR 2022.

    Args:
        root: folder with val2017/ and stuffthingmaps/val2017/, or images/ and annotations/.
        split: ``val`` or ``train``.
        background: whether it is a class, label 0; void otherwise.
        ids: a text file with the names of the pictures that count, one a line; all by default.
        count: how many pictures; all by default.
        start: number of the first.
    """

    table: ClassVar = "coco-object"
    root: PathText
    split: Split = "val"
    background: bool = True
    ids: PathText | None = None
    count: Count | None = None
    start: Start = 0

    def parts(self) -> Parts:
        """Pictures, maps and the list."""
        return _parts(self.split, self.ids)
