"""The outlines of the scenes' objects: noun -> which pixels are inside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from attnprobe.data.textures import Array, Dice, value_noise

Inside = Callable[[Array, Array, Dice], Array]
"""(u, v, dice) -> bool array; u and v are coordinates in which the shape fills about [−1, 1]²."""


def _polygon(*corners: tuple[float, float]) -> Inside:
    """Even-odd rule: a pixel is inside if a ray to the right crosses the outline an odd time."""

    def inside(u: Array, v: Array, dice: Dice) -> Array:
        odd = np.zeros(u.shape, bool)
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            if y0 == y1:
                continue
            crosses = (v < y0) != (v < y1)
            odd ^= crosses & (u < x0 + (v - y0) * ((x1 - x0) / (y1 - y0)))
        return odd

    return inside


def _blob(u: Array, v: Array, dice: Dice) -> Array:
    radius = 0.55 + 0.75 * value_noise(dice, u.shape[0], 6)
    return u * u + v * v < radius * radius


def _heart(u: Array, v: Array, dice: Dice) -> Array:
    x, y = 1.15 * u, 0.15 - 1.15 * v
    body = x * x + y * y - 1
    return body * body * body - x * x * y * y * y < 0


def _ring(u: Array, v: Array, dice: Dice) -> Array:
    square = u * u + v * v
    hole = dice.between(0.4, 0.6)
    return (square < 1) & (square > hole * hole)


def _crescent(u: Array, v: Array, dice: Dice) -> Array:
    x = u - dice.between(0.4, 0.6)
    return (u * u + v * v < 1) & (x * x + v * v > 0.72)


def _arch(u: Array, v: Array, dice: Dice) -> Array:
    outer = (np.abs(u) < 0.9) & (v < 0.9) & ((v > -0.1) | (u * u + (v + 0.1) * (v + 0.1) < 0.81))
    inner = (np.abs(u) < 0.4) & ((v > -0.1) | (u * u + (v + 0.1) * (v + 0.1) < 0.16))
    return outer & ~inner


_STAR = _polygon(
    (0.0, -1.0), (0.2645, -0.3641), (0.9511, -0.3090), (0.4280, 0.1391), (0.5878, 0.8090),
    (0.0, 0.45), (-0.5878, 0.8090), (-0.4280, 0.1391), (-0.9511, -0.3090), (-0.2645, -0.3641),
)  # fmt: skip

SHAPES: dict[str, Inside] = {
    "disc": lambda u, v, dice: u * u + v * v < 0.85,
    "oval": lambda u, v, dice: u * u + 3.0 * v * v < 1,
    "square": lambda u, v, dice: np.maximum(np.abs(u), np.abs(v)) < 0.8,
    "bar": lambda u, v, dice: (np.abs(u) < 1.1) & (np.abs(v) < 0.4),
    "triangle": _polygon((0.0, -1.05), (1.0, 0.75), (-1.0, 0.75)),
    "kite": _polygon((0.0, -1.05), (0.7, -0.2), (0.0, 1.05), (-0.7, -0.2)),
    "hexagon": _polygon(
        (1.0, 0.0), (0.5, 0.866), (-0.5, 0.866), (-1.0, 0.0), (-0.5, -0.866), (0.5, -0.866)
    ),
    "star": _STAR,
    "cross": lambda u, v, dice: (
        (np.minimum(np.abs(u), np.abs(v)) < 0.34) & (np.maximum(np.abs(u), np.abs(v)) < 0.95)
    ),
    "ring": _ring,
    "crescent": _crescent,
    "heart": _heart,
    "arch": _arch,
    "blob": _blob,
}


def draw_shape(noun: str, dice: Dice, size: int) -> tuple[Array, Array, Array]:
    """A shape of random place, scale, stretch and turn on a (size, size) canvas.

    Returns:
        Its mask (bool), and its own coordinates u and v (float), for the light on it.
    """
    turn_x, turn_y = dice.direction()
    radius = dice.between(0.15, 0.36) * size
    stretch = dice.between(0.75, 1.0)
    centre_x, centre_y = (dice.between(0.08, 0.92) * size for _ in range(2))
    x = (np.arange(size) + 0.5 - centre_x)[None, :] / radius
    y = (np.arange(size) + 0.5 - centre_y)[:, None] / radius
    u, v = turn_x * x + turn_y * y, (turn_x * y - turn_y * x) / stretch
    return SHAPES[noun](u, v, dice), u, v
