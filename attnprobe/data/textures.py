"""Noise that is the same bits on every machine, and the surfaces of the scenes' objects made of it.

Only PCG64's raw stream (whose stability NumPy guarantees) and the operations that IEEE 754 defines
exactly are used: no sine, exponential, Fourier transform, matrix product or long sum, whose last
digits differ between processors and libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Array = np.ndarray


class Dice:
    """Uniform draws from a seed, which may be several whole numbers."""

    def __init__(self, *seed: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed))

    def unit(self, *shape: int) -> Array:
        """Float64 draws in [0, 1) of a shape."""
        raw = self._bits.random_raw(int(np.prod(shape, dtype=np.int64)))
        return (np.asarray(raw >> np.uint64(11), np.float64) * 2.0**-53).reshape(shape)

    def between(self, low: float, high: float) -> float:
        """One draw in [low, high)."""
        return low + (high - low) * float(self.unit(1)[0])

    def below(self, count: int) -> int:
        """A whole number from 0 to count − 1."""
        return int(self.unit(1)[0] * count)

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return bool(self.unit(1)[0] < probability)

    def one_of(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def some_of(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different items, in random order."""
        order = np.argsort(self.unit(len(items)), kind="stable")
        return [items[i] for i in order[:count]]

    def direction(self) -> tuple[float, float]:
        """A unit vector of nearly uniform angle.

        ((1 − t²), 2t)/(1 + t²) runs over a quarter turn for t in [0, 1); √2 − 1 halves it fairly.
        """
        t = float(self.unit(1)[0])
        t = t * (0.8284271247461903 + 0.1715728752538097 * t)
        x, y = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
        return [(x, y), (-y, x), (-x, -y), (y, -x)][self.below(4)]


def smooth(t: Array) -> Array:
    """The cubic that rises from 0 to 1 with flat ends."""
    return t * t * (3.0 - 2.0 * t)


def value_noise(dice: Dice, size: int, cells: int) -> Array:
    """Noise in [0, 1) of (size, size): a random lattice, smoothly interpolated."""
    lattice = dice.unit(cells + 2, cells + 2)
    shift_y, shift_x = dice.unit(2)
    at = np.arange(size) * (cells / size)
    row, column = at + shift_y, at + shift_x
    y, x = row.astype(np.int64), column.astype(np.int64)
    fy, fx = smooth(row - y)[:, None], smooth(column - x)[None, :]
    upper = lattice[np.ix_(y, x)] * (1 - fx) + lattice[np.ix_(y, x + 1)] * fx
    lower = lattice[np.ix_(y + 1, x)] * (1 - fx) + lattice[np.ix_(y + 1, x + 1)] * fx
    return upper * (1 - fy) + lower * fy


def fractal_noise(dice: Dice, size: int, coarsest: int = 4) -> Array:
    """Noise in [0, 1) whose octaves have amplitudes that fall as 1/f, down to the pixel."""
    total, weight, cells, amplitude = np.zeros((size, size)), 0.0, coarsest, 1.0
    while cells <= size:
        total = total + amplitude * value_noise(dice, size, cells)
        weight += amplitude
        cells, amplitude = cells * 2, amplitude * 0.5
    return total / weight


def blurred(image: Array, times: int = 1) -> Array:
    """The binomial filter 1 2 1 along both axes so many times, edges repeated."""
    for _ in range(times):
        wide = np.pad(image, [(1, 1), (0, 0), (0, 0)], mode="edge")
        image = 0.25 * wide[:-2] + 0.5 * image + 0.25 * wide[2:]
        wide = np.pad(image, [(0, 0), (1, 1), (0, 0)], mode="edge")
        image = 0.25 * wide[:, :-2] + 0.5 * image + 0.25 * wide[:, 2:]
    return image


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
