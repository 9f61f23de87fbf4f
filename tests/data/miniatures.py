"""Benchmarks in miniature, in the layouts that their downloads have.

What their label files' numbers stand for is written out here by hand, from each dataset's own
documentation, and not taken from the tables under test.
"""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from scipy.io import savemat

SIZE = (23, 37)
"""Height and width of the pictures, both odd."""


@dataclass(frozen=True)
class Miniature:
    """A dataset's layout.

    Args:
        use: the source's name.
        classes: how many it has.
        picture: the pattern of a picture's path.
        label: the pattern of a label file's path.
        numbers: some of the label files' numbers, and the labels that they stand for.
        refused: a number that stands for nothing.
        names: of its pictures; the first is whole.
        listed: a file that lists them, or None.
        keys: of the source, beside its root.
    """

    use: str
    classes: int
    picture: str
    label: str
    numbers: dict[int, int]
    refused: int
    names: tuple[str, ...]
    listed: str | None = None
    keys: dict = field(default_factory=dict)

    def write(self, root, names=None):
        """Write pictures and label files; the truth of each by name."""
        truths = {}
        for seed, name in enumerate(names or self.names):
            rng = np.random.default_rng(seed)
            picture = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
            stored = rng.choice(list(self.numbers), SIZE)
            stored.flat[: len(self.numbers)] = list(self.numbers)
            path = root / self.picture.format(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
            self.write_label(root, name, stored)
            truths[name.rpartition("/")[2]] = np.vectorize(self.numbers.get)(stored)
        if self.listed:
            path = root / self.listed
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{name}\n" for name in names or self.names))
        return truths

    def write_label(self, root, name, stored):
        path = root / self.label.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".mat":
            savemat(path, {"LabelMap": stored.astype(np.uint16)})
        else:
            Image.fromarray(stored.astype(np.uint8)).save(path)


COCO = ("000000000139", "000000000285", "000000000632")
CITY = (
    "frankfurt/frankfurt_000000_000294",
    "frankfurt/frankfurt_000001_082466",
    "munster/munster_000000_000019",
)
VOC = ("2007_000033", "2007_000042", "2008_000002")
MAPS = ("val2017/{}.jpg", "stuffthingmaps/val2017/{}.png")
FINE = ("leftImg8bit/val/{}_leftImg8bit.png", "gtFine/val/{}_gtFine_labelIds.png")
KIT = "VOCdevkit/VOC2012"
VOC_2012 = (f"{KIT}/JPEGImages/{{}}.jpg", f"{KIT}/SegmentationClass/{{}}.png")
VOC_LIST = f"{KIT}/ImageSets/Segmentation/val.txt"
CONTEXT = ("VOCdevkit/VOC2010/JPEGImages/{}.jpg", "trainval/{}.mat")
CONTEXT_LIST = "VOCdevkit/VOC2010/ImageSets/Main/val.txt"
ADE = tuple(
    f"ADEChallengeData2016/{kind}/validation/{{}}.{end}"
    for kind, end in (("images", "jpg"), ("annotations", "png"))
)

ALL = [
    # person, bicycle, banner, wood, unlabelled
    Miniature("coco-stuff-27", 27, *MAPS, {0: 9, 1: 11, 91: 17, 181: 24, 255: -1}, 182, COCO),
    # person, stop sign (the 12th), banner (the 81st), wood (the last)
    Miniature("coco-stuff-171", 171, *MAPS, {0: 0, 12: 11, 91: 80, 181: 170, 255: -1}, 11, COCO),
    Miniature("coco-object", 81, *MAPS, {0: 1, 12: 12, 89: 80, 91: 0, 181: 0, 255: 0}, 90, COCO),
    Miniature("coco-object", 80, *MAPS, {0: 0, 12: 11, 89: 79, 91: -1, 255: -1}, 190, COCO,
              keys={"background": False}),
    # static, ground, road, parking, bicycle
    Miniature("cityscapes-27", 27, *FINE, {4: -1, 6: -1, 7: 0, 9: 2, 33: 26}, 34, CITY),
    # the same but parking void, and sky (trainId 10), caravan (void), train (trainId 16)
    Miniature("cityscapes-19", 19, *FINE,
              {4: -1, 6: -1, 7: 0, 9: -1, 23: 10, 29: -1, 31: 16, 33: 18}, 77, CITY),
    Miniature("pascal-voc", 21, *VOC_2012, {0: 0, 1: 1, 20: 20, 255: -1}, 21, VOC, VOC_LIST),
    Miniature("pascal-voc", 20, *VOC_2012, {0: -1, 1: 0, 20: 19, 255: -1}, 21, VOC, VOC_LIST,
              {"background": False}),
    # accordion, aeroplane, air conditioner, bag, wood, and the last of the 459
    Miniature("pascal-context", 59, *CONTEXT, {1: -1, 2: 0, 3: -1, 9: 1, 458: 58, 459: -1}, 460,
              VOC, CONTEXT_LIST),
    Miniature("pascal-context", 60, *CONTEXT, {1: 0, 2: 1, 9: 2, 458: 59, 459: 0}, 999,
              VOC, CONTEXT_LIST, {"background": True}),
    # none, wall, building, flag
    Miniature("ade20k", 150, *ADE, {0: -1, 1: 0, 2: 1, 150: 149}, 151,
              ("ADE_val_00000001", "ADE_val_00000002", "ADE_val_00002000")),
    # sky, building, bicyclist, none
    Miniature("camvid", 11, "CamVid/val/{}.png", "CamVid/valannot/{}.png",
              {0: 0, 1: 1, 10: 10, 11: -1}, 12,
              ("0016E5_07959", "0016E5_07961", "0016E5_08159")),
]  # fmt: skip
