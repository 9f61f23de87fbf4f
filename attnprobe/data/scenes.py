"""Procedural scenes with exact masks: layered "dead leaves", for training and testing `tiny`.

Two to six shapes occlude each other over a background. Each has a texture of two related colours,
is lit from one side, and objects share colours, so that colour alone does not tell them apart.
A scene is a function of its split and number alone, bit for bit on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from attnprobe.data import photolike
from attnprobe.data.base import Sample
from attnprobe.data.shapes import SHAPES, draw_shape
from attnprobe.data.textures import (
    COLOURS,
    TEXTURES,
    Array,
    Dice,
    blurred,
    fractal_noise,
    paint,
    value_noise,
)
from attnprobe.registry import source

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = photolike.SIZE
"""Side of a scene, pixels."""

SMALLEST = 256
"""Fewest visible pixels of an object; one more hidden than that is left out."""

Split = Literal["train", "validation", "test"]
Style = Literal["as-is", "sketch", "paint", "photo"]
_SPLITS = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Scene:
    """One scene.

    Args:
        image: (128, 128, 3) uint8.
        labels: (128, 128) int32; 0 is the background, then objects from back to front.
        names: what each label shows, such as "ground" and "star".
        caption: "a red striped star and a green plain disc on a blue checked ground".
    """

    image: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    caption: str


def make_scene(split: Split, number: int, style: Style = "as-is") -> Scene:
    """Scene `number` of a split. Splits never share a scene.

    ``sketch`` and ``paint`` change only the picture; a ``photo`` is a scene of its own.
    """
    if style == "photo":
        return _photo(Dice(_SPLITS[split], number, 3))
    dice = Dice(_SPLITS[split], number)
    labels, shapes, places = _arrange(dice)
    looks = _dress(dice, len(shapes))
    image = _colour(dice, labels, looks, places)
    if style == "sketch":
        image = _sketch(Dice(_SPLITS[split], number, 1), image, labels)
    elif style == "paint":
        image = _smear(Dice(_SPLITS[split], number, 2), image)
    things = [f"a {c} {t} {noun}" for (c, t), noun in zip(looks[1:], shapes, strict=True)]
    return Scene(
        image=(image * 255.0 + 0.5).astype(np.uint8),
        labels=labels,
        names=("ground", *shapes),
        caption=_caption(things, looks[0]),
    )


def _photo(dice: Dice) -> Scene:
    image, labels, names, leaves, ground = photolike.draw(dice, SMALLEST)
    things = [f"a {leaf.colour} {leaf.texture} {leaf.noun}" for leaf in leaves]
    picture = (image * 255.0 + 0.5).astype(np.uint8)
    return Scene(picture, labels, tuple(names), _caption(things, ground))


def _caption(things: list[str], ground: tuple[str, str]) -> str:
    """What is seen, from front to back."""
    *before, last = things[::-1]
    listed = f"{', '.join(before)} and {last}" if before else last
    return f"{listed} on a {ground[0]} {ground[1]} ground"


def _arrange(dice: Dice) -> tuple[Array, list[str], list[tuple[Array, Array]]]:
    """Lay shapes from back to front; leave out those too hidden, until at least two are seen."""
    while True:
        nouns = [dice.one_of(list(SHAPES)) for _ in range(2 + dice.below(5))]
        drawn = [(noun, *draw_shape(noun, dice, SIZE)) for noun in nouns]
        above = np.zeros((SIZE, SIZE), bool)
        seen = []
        for noun, mask, u, v in reversed(drawn):
            if np.count_nonzero(mask & ~above) >= SMALLEST:
                seen.append((noun, mask, u, v))
                above |= mask
        if len(seen) >= 2 and np.count_nonzero(~above) >= SMALLEST:
            break
    seen.reverse()
    labels = np.zeros((SIZE, SIZE), np.int32)
    for label, (_, mask, _, _) in enumerate(seen, start=1):
        labels[mask] = label
    return labels, [noun for noun, *_ in seen], [(u, v) for *_, u, v in seen]


def _dress(dice: Dice, count: int) -> list[tuple[str, str]]:
    """Colour and texture of the ground, then of each object.

    Objects share two to four colours among them, none the ground's, and no two look the same.
    """
    ground, *palette = dice.some_of(list(COLOURS), 3 + dice.below(3))
    looks = [(colour, texture) for colour in palette for texture in TEXTURES]
    return [(ground, dice.one_of(list(TEXTURES))), *dice.some_of(looks, count)]


def _colour(
    dice: Dice,
    labels: Array,
    looks: list[tuple[str, str]],
    places: list[tuple[Array, Array]],
) -> Array:
    """Paint, light, blur and grain: the picture (128, 128, 3) in [0, 1]."""
    light_x, light_y = dice.direction()
    strength = dice.between(0.05, 0.3)
    x = (np.arange(SIZE) / SIZE - 0.5)[None, :]
    y = (np.arange(SIZE) / SIZE - 0.5)[:, None]
    image = paint(*looks[0], dice, SIZE) * (1 + strength * (light_x * x + light_y * y))[..., None]
    for label, (look, (u, v)) in enumerate(zip(looks[1:], places, strict=True), start=1):
        lit = 1 + strength * np.clip(light_x * u + light_y * v, -1, 1)
        surface = paint(*look, dice, SIZE) * lit[..., None]
        image = np.where((labels == label)[..., None], surface, image)
    image = np.clip(image, 0.0, 1.0)
    blur = dice.between(0, 0.8)
    image = image * (1 - blur) + blurred(image) * blur
    noise = dice.unit(SIZE, SIZE, 3) + dice.unit(SIZE, SIZE, 3) - 1.0
    return np.clip(image + dice.between(0, 0.06) * noise, 0.0, 1.0)


def _luminance(image: Array) -> Array:
    return 0.3 * image[..., 0] + 0.6 * image[..., 1] + 0.1 * image[..., 2]


def _sketch(dice: Dice, image: Array, labels: Array) -> Array:
    """Outlines and hatching, closer the darker, each object at an angle of its own, on paper."""
    edge = np.zeros((SIZE, SIZE), bool)
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    dark = 1.0 - blurred(blurred(image))
    ink = np.where(edge, 0.9, 0.0)
    x, y = np.arange(SIZE)[None, :], np.arange(SIZE)[:, None]
    for label in range(int(labels.max()) + 1):
        turn_x, turn_y = dice.direction()
        t = (turn_x * x + turn_y * y) / dice.between(3.5, 7)
        stroke = np.abs(2.0 * (t - np.floor(t)) - 1.0)
        hatch = np.clip((_luminance(dark) - stroke) * 3.0, 0.0, 1.0) * 0.75
        ink = np.where((labels == label) & ~edge, hatch, ink)
    paper = 0.93 + 0.06 * fractal_noise(dice, SIZE, 16)
    tone = np.clip(paper * (1 - ink), 0.0, 1.0)
    return np.repeat(tone[..., None], 3, axis=2)


def _smear(dice: Dice, image: Array) -> Array:
    """Brush strokes: colours dragged along a slowly turning field, then posterised."""
    drag_x, drag_y = (12.0 * (value_noise(dice, SIZE, 5) - 0.5) for _ in range(2))
    x, y = np.arange(SIZE)[None, :], np.arange(SIZE)[:, None]
    total = np.zeros_like(image)
    steps = (-0.5, -0.25, 0.0, 0.25, 0.5)
    for step in steps:
        column = np.clip(np.floor(x + step * drag_x + 0.5), 0, SIZE - 1).astype(np.int64)
        row = np.clip(np.floor(y + step * drag_y + 0.5), 0, SIZE - 1).astype(np.int64)
        total = total + image[row, column]
    return np.floor(total / len(steps) * 7.0 + 0.5) / 7.0


@source("scenes")
@dataclass(frozen=True)
class Scenes:
    """Procedural scenes with exact truth, drawn on the spot.

    Args:
        split: ``train``, which `tiny` has seen, ``validation`` or ``test``; none shares a scene.
        count: how many.
        start: number of the first.
        style: ``as-is``, or redrawn as a ``sketch`` or in ``paint`` with the same truth; or scenes
            that look like a ``photo``.
    """

    split: Split = "test"
    count: Annotated[int, Ge(1), Le(100_000)] = 8
    start: Annotated[int, Ge(0)] = 0
    style: Style = "as-is"

    def __call__(self) -> Sequence[Sample]:
        """List the scenes; a picture is drawn when it is read."""
        numbers = range(self.start, self.start + self.count)
        return [self._sample(number) for number in numbers]

    def _sample(self, number: int) -> Sample:
        suffix = "" if self.style == "as-is" else f"-{self.style}"
        name = f"scene-{self.split}-{number:04d}{suffix}"
        which = (self.split, number, self.style)
        picture, truth = partial(_picture, *which), partial(_truth, *which)
        return Sample(name, picture, truth, where=name, caption=partial(_text, *which))


def _picture(split: Split, number: int, style: Style) -> Image:
    from PIL import Image

    return Image.fromarray(_drawn(split, number, style).image)


def _truth(split: Split, number: int, style: Style) -> np.ndarray:
    return _drawn(split, number, style).labels


def _text(split: Split, number: int, style: Style) -> str:
    return _drawn(split, number, style).caption


@lru_cache(maxsize=4)  # a sample is asked for its picture, then for its truth
def _drawn(split: Split, number: int, style: Style) -> Scene:
    return make_scene(split, number, style)
