"""The surfaces of the scenes' objects: adjective -> how two colours mix over the canvas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from attnprobe.data.dice import Array, Dice, fractal_noise, smooth

Mix = Callable[[Dice, int], Array]
"""(dice, size) -> (size, size) in [0, 1]: the share of the second colour."""


def _rotated(dice: Dice, size: int) -> tuple[Array, Array]:
    """Pixel coordinates turned by a random angle."""
    x_part, y_part = dice.direction()
    x, y = np.arange(size)[None, :] + 0.5, np.arange(size)[:, None] + 0.5
    return x_part * x + y_part * y, x_part * y - y_part * x


def _wave(t: Array) -> Array:
    """A wave of period 1 between 0 and 1."""
    return smooth(np.abs(2.0 * (t - np.floor(t)) - 1.0))


def _sharpen(t: Array, steepness: float) -> Array:
    return np.clip((t - 0.5) * steepness + 0.5, 0.0, 1.0)


def _plain(dice: Dice, size: int) -> Array:
    return np.zeros((size, size))


def _striped(dice: Dice, size: int) -> Array:
    along, _ = _rotated(dice, size)
    phase = dice.between(0, 1)
    return _sharpen(_wave(along / dice.between(5, 18) + phase), dice.between(1, 6))


def _checked(dice: Dice, size: int) -> Array:
    along, across = _rotated(dice, size)
    period, steepness = dice.between(8, 24), dice.between(3, 8)
    first = _sharpen(_wave(along / period), steepness)
    second = _sharpen(_wave(across / period), steepness)
    return first + second - 2.0 * first * second


def _dotted(dice: Dice, size: int) -> Array:
    along, across = _rotated(dice, size)
    period = dice.between(7, 18)
    u, v = along / period, across / period
    du, dv = u - np.floor(u) - 0.5, v - np.floor(v) - 0.5
    radius = dice.between(0.2, 0.36)
    return np.clip((radius * radius - du * du - dv * dv) * period + 0.5, 0.0, 1.0)


def _zigzag(dice: Dice, size: int) -> Array:
    along, across = _rotated(dice, size)
    period = dice.between(7, 16)
    bend = np.abs(2.0 * (across / (2 * period) - np.floor(across / (2 * period))) - 1.0)
    return _sharpen(_wave(along / period + bend), dice.between(2, 6))


def _grainy(dice: Dice, size: int) -> Array:
    return _sharpen(fractal_noise(dice, size, dice.one_of((4, 8, 16))), dice.between(1.5, 3.5))


def _marbled(dice: Dice, size: int) -> Array:
    along, _ = _rotated(dice, size)
    warp = fractal_noise(dice, size, 4) * dice.between(2, 5)
    return _wave(along / dice.between(14, 40) + warp)


def _shaded(dice: Dice, size: int) -> Array:
    along, _ = _rotated(dice, size)
    low, high = along.min(), along.max()
    return (along - low) / (high - low)


TEXTURES: dict[str, Mix] = {
    "plain": _plain,
    "striped": _striped,
    "checked": _checked,
    "dotted": _dotted,
    "zigzag": _zigzag,
    "grainy": _grainy,
    "marbled": _marbled,
    "shaded": _shaded,
}

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.80, 0.16, 0.15),
    "orange": (0.90, 0.52, 0.14),
    "yellow": (0.90, 0.82, 0.22),
    "green": (0.22, 0.58, 0.24),
    "teal": (0.12, 0.58, 0.58),
    "blue": (0.18, 0.34, 0.78),
    "purple": (0.50, 0.24, 0.66),
    "pink": (0.92, 0.55, 0.68),
    "brown": (0.46, 0.30, 0.18),
    "black": (0.10, 0.10, 0.12),
    "grey": (0.50, 0.50, 0.52),
    "white": (0.90, 0.90, 0.88),
}


def paint(colour: str, texture: str, dice: Dice, size: int) -> Array:
    """A canvas (size, size, 3) in [0, 1] of a named colour, its relative, and a texture of both."""
    first = np.array(COLOURS[colour]) + 0.16 * (dice.unit(3) - 0.5)
    lightness = dice.between(0.12, 0.34) * (1 if dice.chance(0.5) else -1)
    if not 0.1 < first.mean() + lightness < 0.9:
        lightness = -lightness
    second = first + lightness + 0.24 * (dice.unit(3) - 0.5)
    mix = TEXTURES[texture](dice, size)[..., None]
    return np.clip(first * (1 - mix) + second * mix, 0.0, 1.0)
