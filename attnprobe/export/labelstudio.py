"""Label Studio's tasks, whose predictions are brush masks to be corrected by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from attnprobe.export.coco import save_picture
from attnprobe.export.labelled import Labelled
from attnprobe.pictures.masks import Mask, masks_of


def labelstudio(images: Iterable[Labelled], folder: Path) -> None:
    """tasks.json, a task an image; config.xml, the labels it needs; images/.

    The pictures are found where Label Studio serves this folder as its local files.
    """
    tasks, called = [], dict[str, None]()
    for image in images:
        masks = list(masks_of(image.labels))
        called |= dict.fromkeys(_label_name(image, mask.number) for mask in masks)
        results = [_result(image, mask) for mask in masks]
        place = f"/data/local-files/?d=images/{quote(image.name)}.png"
        predictions = [{"model_version": "attnprobe", "result": results}]
        tasks.append({"data": {"image": place}, "predictions": predictions})
        save_picture(image, folder / "images")
    (folder / "tasks.json").write_text(json.dumps(tasks, ensure_ascii=False), encoding="utf-8")
    labels = "".join(
        f"    <Label value={quoteattr(name)}/>\n" for name in sorted(called, key=_order)
    )
    config = (
        '<View>\n  <Image name="image" value="$image"/>\n'
        f'  <BrushLabels name="segments" toName="image">\n{labels}  </BrushLabels>\n</View>\n'
    )
    (folder / "config.xml").write_text(config, encoding="utf-8")


def _label_name(image: Labelled, number: int) -> str:
    return image.called(number) or f"segment {number}"


def _order(name: str) -> tuple[int, str]:
    """Names by the alphabet, then segments that have none by their numbers."""
    first, _, number = name.partition(" ")
    return (int(number) + 1, "") if first == "segment" and number.isdigit() else (0, name)


def _result(image: Labelled, mask: Mask) -> dict[str, Any]:
    height, width = image.labels.shape
    return {
        "id": f"s{mask.number}",
        "type": "brushlabels",
        "from_name": "segments",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {
            "format": "rle",
            "rle": brush(mask.bits),
            "brushlabels": [_label_name(image, mask.number)],
        },
    }


def brush(bits: np.ndarray) -> list[int]:
    """A mask (H, W) as Label Studio packs it: bytes of runs over its four channels.

    Of thi.ng/rle-pack: 32 bits how many values there are, 5 the bits of a value less one, four
    times 4 the sizes of lengths less one; then for each run a 1, 2 bits which size, the length less
    one, and the value. Here all lengths have 16 bits: shorter ones would save little.
    """
    flat = np.repeat(bits.ravel(), 4)
    ends = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])
    words = [f"{flat.size:032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in (3, 4, 8, 16))]
    for start, length in zip(ends[:-1], np.diff(ends), strict=True):
        value = f"{255 * int(flat[start]):08b}"
        whole, rest = divmod(int(length), 1 << 16)
        lengths = [1 << 16] * whole + [rest] * (rest > 0)
        words += [f"111{part - 1:016b}{value}" for part in lengths]
    text = "".join(words)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]
