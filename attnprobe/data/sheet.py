"""A picture of three samples with their labels in colour over them, and what the colours mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from attnprobe.data.base import VOID, Classes, Drawing, Sample, each_person
from attnprobe.errors import AttnProbeError
from attnprobe.files import write_whole
from attnprobe.pictures.palette import COLOURS, palette

_HEIGHT, _WIDTH = 300, 900
"""Height of a sample and its greatest width, in pixels."""
_GAP = 12
_TEXT = 15
_COVER = 0.6
"""How much the colours cover."""
_VOID_GREY = 128
"""The grey that void is washed with."""


def save_sheet(
    samples: Sequence[Sample], classes: Classes | None, path: Path
) -> tuple[list[str], list[AttnProbeError]]:
    """Draw the first, the middle and the last sample, and save the picture.

    Returns:
        The names of those shown (with none, nothing is written), and the faults of the others.

    Raises:
        AttnProbeError: the picture can't be written.
    """
    shown, faults = {}, []
    last = len(samples) - 1
    for index in sorted({0, len(samples) // 2, last}) if samples else ():
        sample = samples[index]
        try:
            picture, truth = sample.read(), sample.truth()
        except AttnProbeError as error:
            faults.append(error)
        else:
            assert not isinstance(picture, Drawing)
            # Of several people's truths the first is as good as any.
            shown[sample.name] = (picture, None if truth is None else each_person(truth)[0])
    if shown:
        with write_whole(path) as temporary:
            sheet(shown, classes).save(temporary, "PNG")
    return list(shown), faults


def sheet(
    samples: dict[str, tuple[Image.Image, np.ndarray | None]], classes: Classes | None
) -> Image.Image:
    """Samples by name side by side, with a legend of the classes that occur in them.

    A class has its own colour if the dataset gives it one; others are the palette's by number.
    """
    font = ImageFont.load_default(_TEXT)
    tiles = [(name, _tile(*sample, classes)) for name, sample in samples.items()]
    truths = [truth for _, truth in samples.values() if truth is not None]
    occurring = sorted({int(label) for truth in truths for label in np.unique(truth)})
    entries = [(_name(label, classes), _colour(label, classes)) for label in occurring]
    width = _GAP + sum(tile.width + _GAP for _, tile in tiles)
    top = 2 * _GAP + _TEXT + max(tile.height for _, tile in tiles)
    places, height = _wrapped([_GAP * 3 + font.getlength(name) for name, _ in entries], width)
    result = Image.new("RGB", (width, top + height + _GAP), "white")
    draw = ImageDraw.Draw(result)
    left = _GAP
    for name, tile in tiles:
        draw.text((left, _GAP // 2), _fitted(name, font, tile.width), "black", font)
        result.paste(tile, (left, _GAP + _TEXT))
        left += tile.width + _GAP
    for (name, colour), (x, y) in zip(entries, places, strict=True):
        draw.rectangle((x, top + y + 2, x + _TEXT, top + y + _TEXT + 2), colour, "grey")
        draw.text((x + _TEXT + 5, top + y), name, "black", font)
    return result


def _tile(picture: Image.Image, truth: np.ndarray | None, classes: Classes | None) -> Image.Image:
    """The picture, its labels' colours over it, as high as a sample is."""
    scale = min(_HEIGHT / picture.height, _WIDTH / picture.width)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = picture.resize(size, Image.Resampling.BILINEAR)
    if truth is None:
        return small
    # Labels are taken where the small picture's pixels have their centres.
    rows, columns = (
        ((np.arange(n) + 0.5) * length / n).astype(int)
        for n, length in zip(size[::-1], truth.shape, strict=True)
    )
    labels = truth[np.ix_(rows, columns)]
    numbers, places = np.unique(labels, return_inverse=True)
    colours = np.array([_colour(int(number), classes) for number in numbers])
    tint = colours[places.reshape(labels.shape)]
    mixed = (1 - _COVER) * np.asarray(small) + _COVER * tint
    return Image.fromarray((mixed + 0.5).astype(np.uint8))


def _name(label: int, classes: Classes | None) -> str:
    if label == VOID:
        return "void"
    return str(label) if classes is None else classes.names[label]


def _colour(label: int, classes: Classes | None) -> tuple[int, ...]:
    if label == VOID:
        return (_VOID_GREY,) * 3
    own = None if classes is None else classes.colours
    return tuple((palette()[label % COLOURS] if own is None else own[label]).tolist())


def _wrapped(widths: list[float], width: int) -> tuple[list[tuple[int, int]], int]:
    """Places of entries in lines no wider than `width`, and the height of all lines."""
    places, x, y = [], _GAP, 0
    for each in widths:
        if x > _GAP and x + each > width:
            x, y = _GAP, y + _TEXT + _GAP // 2
        places.append((x, y))
        x += round(each)
    return places, y + _TEXT + _GAP // 2 if places else 0


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, cut short if it is wider than that."""
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2] + "…"
    return text
