"""Labels as arrays, as Pascal VOC has them, and as YOLO's polygons."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from attnprobe.errors import AttnProbeError
from attnprobe.export.coco import save_picture
from attnprobe.export.labelled import Categories, Labelled
from attnprobe.export.outline import outlines
from attnprobe.pictures.masks import masks_of


def arrays(images: Iterable[Labelled], folder: Path) -> None:
    """<image>.npy: the labels (H, W), int32."""
    for image in images:
        np.save(folder / f"{image.name}.npy", image.labels.astype(np.int32))


def voc(images: Iterable[Labelled], folder: Path) -> None:
    """SegmentationClass/ in VOC's colours, numbers one higher, for 0 is background; a list.

    Where segments have names, a number is a name's in all images, as classes.txt lists them, and
    segments without a name are void, 255.

    Raises:
        AttnProbeError: an image has a number above 253, which VOC has no place for.
    """
    for place in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / place).mkdir(parents=True)
    names, categories = [], Categories()
    for image in images:
        if image.names is not None:
            image = replace(image, labels=_by_name(image, categories))
        if image.labels.max() > 253:
            raise AttnProbeError(
                f"{image.name}: voc has numbers up to 253, for 255 is void. "
                f"Got {image.labels.max()} instead; take another format"
            )
        picture = Image.fromarray((image.labels + 1).astype(np.uint8))  # −2 is void
        picture.putpalette(voc_colours().tobytes())
        picture.save(folder / "SegmentationClass" / f"{image.name}.png")
        save_picture(image, folder / "JPEGImages")
        names.append(f"{image.name}\n")
    (folder / "ImageSets/Segmentation/all.txt").write_text("".join(names), encoding="utf-8")
    if called := categories.names[1:]:
        listed = "".join(f"{number} {name}\n" for number, name in enumerate(called, 1))
        (folder / "classes.txt").write_text(listed, encoding="utf-8")


def _by_name(image: Labelled, categories: Categories) -> np.ndarray:
    """Labels that are a name's number less one, and −2 where there is no name."""
    present, places = np.unique(image.labels, return_inverse=True)
    numbers = [categories.of(image, int(n)) - 1 if image.called(int(n)) else -2 for n in present]
    return np.asarray(numbers, np.int32)[places.reshape(image.labels.shape)]


def voc_colours() -> np.ndarray:
    """VOC's colours (256, 3) uint8: of a number's bits each third goes to one channel."""
    numbers = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((numbers >> (3 * bit + channel) & 1) << (7 - bit)).astype(
                np.uint8
            )
    return colours


def yolo(images: Iterable[Labelled], folder: Path) -> None:
    """labels/<image>.txt: a polygon a line, the largest first; images/; data.yaml.

    A polygon has no holes: what lies in one has a later line, to be drawn over it. Each part of a
    segment that hangs together is an object of its own.
    """
    (folder / "labels").mkdir()
    categories = Categories()
    for image in images:
        height, width = image.labels.shape
        parts = [
            (categories.of(image, mask.number), part)
            for mask in masks_of(image.labels)
            for part in outlines(mask.bits)
        ]
        parts.sort(key=lambda each: _extent(each[1]), reverse=True)
        lines = []
        for category, part in parts:
            places = (part / (width, height)).ravel()
            lines.append(" ".join([str(category), *(f"{place:.7f}" for place in places)]) + "\n")
        (folder / "labels" / f"{image.name}.txt").write_text("".join(lines), encoding="utf-8")
        save_picture(image, folder / "images")
    named = "".join(
        f"  {n}: {json.dumps(name, ensure_ascii=False)}\n" if n else f"  {n}: {name}\n"
        for n, name in enumerate(categories.names)
    )
    said = f"path: .\ntrain: images\nval: images\nnames:\n{named}"
    (folder / "data.yaml").write_text(said, encoding="utf-8")


def _extent(polygon: np.ndarray) -> float:
    """The area within."""
    x, y = polygon.T.astype(float)
    return abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())) / 2
