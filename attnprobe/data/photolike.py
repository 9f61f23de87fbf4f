"""Scenes that look like photographs: the ``photo`` style of the drawn scenes.

Dead leaves with power-law sizes, textures of a natural spectrum and muted colours, a horizon or a
wall behind them, light from one side, cast shadows, a plane of focus, small clutter, stems, grain:
the processes whose statistics are known to carry over to photographs (Lee, Mumford & Huang,
IJCV 2001; Baradad et al., "Learning to See by Looking at Noise", NeurIPS 2021). Truth and captions
are exact, and a picture is the same bits on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnprobe.data.shapes import SHAPES
from attnprobe.data.textures import (
    COLOURS,
    TEXTURES,
    Array,
    Dice,
    blurred,
    fractal_noise,
    smooth,
    value_noise,
)

SIZE = 128

_X = (np.arange(SIZE) + 0.5)[None, :]
_Y = (np.arange(SIZE) + 0.5)[:, None]


@dataclass(frozen=True)
class Leaf:
    """One thing in the picture.

    Args:
        mask: (128, 128) bool.
        u, v: (128, 128), its own coordinates, in which it fills about [−1, 1]².
        noun, colour, texture: what the caption calls it; clutter has no noun.
        depth: 0 far to 1 near.
    """

    mask: Array
    u: Array
    v: Array
    noun: str
    colour: str
    texture: str
    depth: float


def draw(dice: Dice, smallest: int) -> tuple[Array, Array, list[str], list[Leaf], tuple[str, str]]:
    """Draw a scene.

    Returns:
        The picture (128, 128, 3) in [0, 1], its labels, the labels' names, the things it shows from
        back to front, and the ground's colour and texture.

    Args:
        dice: where all that is random comes from.
        smallest: fewest visible pixels of a thing; one more hidden than that is drawn, and belongs
            to what it lies on.
    """
    ground = _look(dice)
    image, labels, names, horizon = _backdrop(dice, ground)
    light = dice.direction()
    blur = dice.one_of((0, 0, 0, 1, 2, 6))
    image = blurred(image, blur)
    leaves = _arrange(dice, horizon, smallest)
    hard = dice.chance(0.6)
    for leaf in leaves:
        if hard and leaf.noun:
            image = image * (1 - _shadow(dice, leaf, light))[..., None]
        surface = _lit(dice, _surface(dice, leaf.colour, leaf.texture), leaf, light)
        passes = max(0, round(blur * (0.6 - leaf.depth)))
        cover = blurred(leaf.mask.astype(float)[..., None], passes + dice.below(2))
        image = image * (1 - cover) + surface * cover
    counted = [leaf for leaf in leaves if leaf.noun]
    first = len(names)
    for number, leaf in enumerate(counted, start=first):
        labels = np.where(leaf.mask, number, labels)
    if first == 2 and np.bincount(labels.ravel(), minlength=2)[:2].min() < smallest:
        labels, names = np.maximum(labels - 1, 0), ["ground"]  # too little of one is seen
    image = _camera(dice, image, light)
    names += [leaf.noun for leaf in counted]
    return image, labels.astype(np.int32), names, counted, ground


def _backdrop(dice: Dice, look: tuple[str, str]) -> tuple[Array, Array, list[str], float]:
    """What lies behind: sky over ground, water that mirrors, or one surface."""
    labels = np.zeros((SIZE, SIZE), np.int64)
    ground = _surface(dice, *look)
    if dice.chance(0.5):
        return _sloped(dice, ground), labels, ["ground"], 0.0
    level = dice.between(0.2, 0.7) * SIZE
    rough = dice.one_of((0.0, 4.0, 12.0, 40.0))
    line = level + rough * (fractal_noise(dice, SIZE, dice.one_of((2, 4)))[0] - 0.5)
    above = line[None, :] > _Y
    sky = _sky(dice)
    if dice.chance(0.2):
        row = np.clip(2 * level - _Y[:, 0], 0, SIZE - 1).astype(np.int64)
        ripple = (4.0 * (value_noise(dice, SIZE, 24) - 0.5)).astype(np.int64)
        column = np.clip(np.arange(SIZE)[None, :] + ripple, 0, SIZE - 1)
        ground = 0.25 * ground + 0.6 * sky[row[:, None], column]
    else:
        ground = _sloped(dice, ground)
    image = np.where(above[..., None], sky, ground)
    labels[above] = 1
    if min(np.count_nonzero(above), np.count_nonzero(~above)) < SIZE * SIZE // 16:
        return _sloped(dice, ground), np.zeros_like(labels), ["ground"], 0.0
    return image, labels, ["ground", "sky"], level / SIZE


def _sky(dice: Dice) -> Array:
    """A gradient from one colour to a paler one, with clouds or without."""
    top = _muted(dice, dice.one_of(("blue", "teal", "grey", "white", "orange", "black")))
    low = top + (np.array([0.85, 0.85, 0.9]) - top) * dice.between(0.2, 0.8)
    down = (_Y / SIZE)[..., None]
    sky = top * (1 - down) + low * down + np.zeros((SIZE, SIZE, 1))
    if dice.chance(0.6):
        wide = fractal_noise(dice, SIZE, dice.one_of((2, 3, 5)))
        cloud = smooth(np.clip((wide - dice.between(0.35, 0.6)) * dice.between(2, 6), 0, 1))
        sky = sky + (dice.between(0.6, 1.0) - sky) * (cloud * dice.between(0.3, 0.9))[..., None]
    return np.clip(sky, 0, 1)


def _sloped(dice: Dice, ground: Array) -> Array:
    """A ground that is lighter on one side or farther away."""
    x, y = dice.direction()
    slope = (x * (_X / SIZE - 0.5) + y * (_Y / SIZE - 0.5)) * dice.between(0.0, 0.9)
    return np.clip(ground * (1 + slope)[..., None], 0, 1)


def _arrange(dice: Dice, horizon: float, smallest: int) -> list[Leaf]:
    """Things from back to front; those that show fewer pixels than that are clutter."""
    found: list[Leaf] = []
    while True:
        drawn = [_leaf(dice, horizon) for _ in range(2 + dice.below(7))]
        if dice.chance(0.35):
            drawn.insert(dice.below(len(drawn) + 1), _stem(dice))
        drawn.sort(key=lambda leaf: leaf.depth)
        above = np.zeros((SIZE, SIZE), bool)
        found = []
        for leaf in reversed(drawn):
            seen = np.count_nonzero(leaf.mask & ~above)
            if seen >= smallest:
                above = above | leaf.mask
                found.append(leaf)
            elif leaf.noun and seen:
                found.append(_clutter(leaf))
        named = [leaf for leaf in found if leaf.noun]
        if named and np.count_nonzero(~above) >= SIZE * SIZE // 8:
            break
    found.reverse()
    small = [_clutter(_leaf(dice, horizon, small=True)) for _ in range(dice.one_of((0, 0, 6, 16)))]
    return [*small, *found]


def _clutter(leaf: Leaf) -> Leaf:
    return Leaf(leaf.mask, leaf.u, leaf.v, "", leaf.colour, leaf.texture, leaf.depth)


def _leaf(dice: Dice, horizon: float, small: bool = False) -> Leaf:
    """A shape with a wandering outline; radii fall as r⁻², so that areas fall as a power too."""
    noun = dice.one_of([*SHAPES, "blob", "blob", "blob", "blob", "blob", "oval", "oval", "disc"])
    low, high = (0.015, 0.05) if small else (0.12, 0.55)
    radius = SIZE / (1 / low - dice.between(0, 1) * (1 / low - 1 / high))
    turn_x, turn_y = dice.direction() if dice.chance(0.6) else (1.0, 0.0)
    depth = dice.between(0, 1)
    x0 = dice.between(0.0, 1.0) * SIZE
    y0 = dice.between(0.05, 1.0) * SIZE
    if horizon and dice.chance(0.7):  # things stand on the ground, nearer ones lower
        y0 = (horizon + (1 - horizon) * depth) * SIZE - 0.6 * radius
    wander = dice.one_of((0.0, 0.15, 0.35)) * radius
    bend_x, bend_y = (2 * wander * (value_noise(dice, SIZE, 9) - 0.5) for _ in range(2))
    x, y = (_X + bend_x - x0) / radius, (_Y + bend_y - y0) / radius
    u, v = turn_x * x + turn_y * y, (turn_x * y - turn_y * x) / dice.between(0.55, 1.0)
    colour, texture = _look(dice)
    return Leaf(SHAPES[noun](u, v, dice), u, v, noun, colour, texture, depth)


def _stem(dice: Dice) -> Leaf:
    """Something long and thin from edge to edge."""
    x, y = dice.direction()
    wide = dice.between(0.8, 5.0)
    bend = dice.between(0, 30) * (value_noise(dice, SIZE, 3) - 0.5)
    across = x * (_X - dice.between(0.1, 0.9) * SIZE) + y * (_Y - dice.between(0.1, 0.9) * SIZE)
    v = (across + bend) / wide
    colour, texture = _look(dice)
    return Leaf(np.abs(v) < 1, np.zeros_like(v), v, "bar", colour, texture, dice.between(0, 1))


def _look(dice: Dice) -> tuple[str, str]:
    """A colour and a texture; natural ones more often than drawn ones."""
    natural = ("plain", "grainy", "grainy", "marbled", "shaded")
    texture = dice.one_of(natural if dice.chance(0.75) else tuple(TEXTURES))
    return dice.one_of(list(COLOURS)), texture


def _muted(dice: Dice, colour: str) -> Array:
    """A named colour, drawn towards grey as most of the world is."""
    named = np.array(COLOURS[colour]) + 0.2 * (dice.unit(3) - 0.5)
    grey = 0.3 * named[0] + 0.6 * named[1] + 0.1 * named[2]
    share = dice.between(0.0, 0.75)
    return np.clip(named * (1 - share) + grey * share, 0.03, 0.97)


def _surface(dice: Dice, colour: str, texture: str) -> Array:
    """A canvas (128, 128, 3): texture of two related colours, over noise of a natural spectrum."""
    first = _muted(dice, colour)
    change = dice.between(0.05, 0.35) * (1 if dice.chance(0.5) else -1)
    if not 0.1 < first.mean() + change < 0.9:
        change = -change
    second = first + change + 0.15 * (dice.unit(3) - 0.5)
    mix = TEXTURES[texture](dice, SIZE)[..., None]
    canvas = first * (1 - mix) + second * mix
    rough = fractal_noise(dice, SIZE, dice.one_of((4, 12, 32, 64))) - 0.5
    if dice.chance(0.4):  # fur, grass, wood: stretched along one direction
        along = dice.one_of((0, 1))
        rough = _smeared(rough, along, dice.one_of((2, 4)))
    canvas = canvas * (1 + dice.between(0.1, 1.6) * rough)[..., None]
    tint = 0.12 * dice.between(0, 1) * (dice.unit(3) - 0.5)
    return canvas + tint * (value_noise(dice, SIZE, 7) - 0.5)[..., None]


def _lit(dice: Dice, surface: Array, leaf: Leaf, light: tuple[float, float]) -> Array:
    """Light on a flat thing, or on a round one by Lambert's law."""
    strength = dice.between(0.0, 0.5)
    side = np.clip(light[0] * leaf.u + light[1] * leaf.v, -1, 1)
    if dice.chance(0.5):
        return surface * (1 + strength * side)[..., None]
    height = np.sqrt(np.clip(1 - leaf.u * leaf.u - leaf.v * leaf.v, 0, 1))
    lit = 0.45 + 0.65 * np.clip(0.7 * side + 0.7 * height, 0, 1)
    shine = smooth(np.clip((0.7 * side + 0.7 * height - 0.9) * 10, 0, 1)) * dice.between(0, 0.5)
    return surface * lit[..., None] + (1 - surface) * shine[..., None]


def _shadow(dice: Dice, leaf: Leaf, light: tuple[float, float]) -> Array:
    """How much light a thing takes from what lies behind it: its outline, moved and softened."""
    far = dice.between(2, 14)
    moved = np.roll(leaf.mask, (round(far * -light[1]), round(far * -light[0])), (0, 1))
    soft = blurred(moved.astype(float)[..., None], 1 + dice.below(6))[..., 0]
    return soft * dice.between(0.2, 0.65)


def _camera(dice: Dice, image: Array, light: tuple[float, float]) -> Array:
    """Uneven light, contrast, white balance, lens and grain."""
    fall = (light[0] * (_X / SIZE - 0.5) + light[1] * (_Y / SIZE - 0.5)) * dice.between(0, 0.6)
    corner = ((_X / SIZE - 0.5) ** 2 + (_Y / SIZE - 0.5) ** 2) * dice.between(0, 0.7)
    patches = smooth(np.clip(value_noise(dice, SIZE, 5) * 3 - 1.2, 0, 1))  # shade of what is unseen
    shade = 1 - patches * (dice.between(0.2, 0.5) if dice.chance(0.25) else 0.0)
    image = image * ((1 + fall) * (1 - corner) * shade)[..., None]
    image = image * (1 + 0.2 * (dice.unit(3) - 0.5))
    image = (image - 0.5) * dice.between(0.7, 1.3) + dice.between(0.4, 0.6)
    image = np.clip(image, 0, 1)
    if dice.chance(0.5):  # a darker or lighter middle
        bend = dice.between(-0.5, 0.5)
        image = image + bend * image * (1 - image)
    image = blurred(image, dice.one_of((0, 0, 0, 1)))
    noise = dice.unit(SIZE, SIZE, 3) + dice.unit(SIZE, SIZE, 3) - 1.0
    return np.clip(image + dice.between(0, 0.07) * noise, 0.0, 1.0)


def _smeared(image: Array, axis: int, times: int) -> Array:
    """The binomial filter along one axis, with reach doubled each time."""
    for power in range(times):
        step = 2**power
        image = 0.25 * np.roll(image, step, axis) + 0.5 * image + 0.25 * np.roll(image, -step, axis)
    return image
