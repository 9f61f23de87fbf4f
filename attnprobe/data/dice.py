"""Random numbers and smooth noise that are the same bits on every machine.

Only PCG64's raw stream (whose stability NumPy guarantees) and the operations that IEEE 754 defines
exactly are used: no sine, exponential, Fourier transform, matrix product or long sum, whose last
digits differ between processors and libraries.
"""

from __future__ import annotations

from collections.abc import Sequence
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
