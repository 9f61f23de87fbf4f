"""COCO's forms: instances, panoptic, and masks of an image as Segment Anything's data set has them.

Lin et al., "Microsoft COCO", ECCV 2014; Kirillov et al., "Panoptic Segmentation", CVPR 2019;
Kirillov et al., "Segment Anything", ICCV 2023.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attnprobe.export.labelled import Categories, Labelled
from attnprobe.pictures.masks import masks_of


def coco(images: Iterable[Labelled], folder: Path) -> None:
    """annotations.json, an annotation a segment with its run lengths; images/."""
    data, categories = _empty(), Categories()
    for number, image in enumerate(images, 1):
        data["images"].append(_entry(number, image))
        for mask in masks_of(image.labels):
            category = categories.of(image, mask.number) + 1
            about = {
                "id": len(data["annotations"]) + 1,
                "image_id": number,
                "category_id": category,
            }
            annotation = {**about, **mask.annotation(), "iscrowd": 0, "segment": mask.number}
            data["annotations"].append(annotation)
        save_picture(image, folder / "images")
    _write(folder / "annotations.json", {**data, "categories": _listed(categories)})


def panoptic(images: Iterable[Labelled], folder: Path) -> None:
    """panoptic.json, and panoptic/: a picture an image whose colours are ids; images/."""
    data, categories = _empty(), Categories()
    (folder / "panoptic").mkdir()
    for number, image in enumerate(images, 1):
        data["images"].append(_entry(number, image))
        ids = image.labels.astype(np.uint32) + 1  # 0 is void
        colours = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)
        Image.fromarray(colours).save(folder / "panoptic" / f"{image.name}.png")
        segments = [
            {"id": mask.number + 1, "category_id": categories.of(image, mask.number) + 1,
             "area": mask.area, "bbox": list(mask.box), "iscrowd": 0}
            for mask in masks_of(image.labels)
        ]  # fmt: skip
        about = {"image_id": number, "file_name": f"{image.name}.png", "segments_info": segments}
        data["annotations"].append(about)
        save_picture(image, folder / "images")
    _write(folder / "panoptic.json", {**data, "categories": _listed(categories)})


def run_lengths(images: Iterable[Labelled], folder: Path) -> None:
    """<image>.json: the masks of an image as run lengths."""
    for number, image in enumerate(images, 1):
        about = {"image_id": number, **_size(image), "file_name": f"{image.name}.png"}
        masks = [
            {"id": mask.number, **_named(image, mask.number), **mask.annotation()}
            for mask in masks_of(image.labels)
        ]
        _write(folder / f"{image.name}.json", {"image": about, "annotations": masks})


def save_picture(image: Labelled, folder: Path) -> None:
    """Save the picture beside its masks, <image>.png."""
    folder.mkdir(exist_ok=True)
    assert image.picture is not None
    image.picture.save(folder / f"{image.name}.png")


def _empty() -> dict[str, Any]:
    return {"images": [], "annotations": []}


def _listed(categories: Categories) -> list[dict[str, Any]]:
    about = {"supercategory": Categories.NAMELESS, "isthing": 1}
    return [{"id": n, "name": name, **about} for n, name in enumerate(categories.names, 1)]


def _named(image: Labelled, number: int) -> dict[str, str]:
    name = image.called(number)
    return {} if name is None else {"name": name}


def _entry(number: int, image: Labelled) -> dict[str, Any]:
    return {"id": number, "file_name": f"{image.name}.png", **_size(image)}


def _size(image: Labelled) -> dict[str, int]:
    height, width = image.labels.shape
    return {"width": width, "height": height}


def _write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
