"""Guided filter: segments take the picture's edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge, Gt, Le
from einops import rearrange

from attnprobe.fields import AnyField, Segmentation
from attnprobe.lazy import F, torch
from attnprobe.refine.segments import compacted, masks, needed, picture_at
from attnprobe.registry import refiner
from attnprobe.resample import upsampled_bands

if TYPE_CHECKING:
    from PIL.Image import Image

_RADIUS = 8
"""Radius in pixels from which on the coefficients are found on a smaller picture."""

_FLOATS = 1 << 26
"""Coefficients kept at most, 256 MB."""


@refiner("guided")
@dataclass(frozen=True)
class Guided:
    """Guided filter of the segments by the picture (He, Sun & Tang 2013, equations 14 to 16).

    Around each pixel, each label's mask q is a linear function of the colours, q = aᵀI + b, the
    one that fits best in the window; so where colours change, so does the mask. The label whose
    filtered mask is the highest is taken, at the picture's own size. In large pictures a and b are
    found on a smaller one and enlarged (He & Sun 2015, the fast guided filter), and the labels in
    bands, which bounds memory. O(K·H·W) for K labels.

    Args:
        radius: of the window, in cells of the field's grid, of which segments know no finer.
        epsilon: ε, how little colours must vary in a window, in squares of [0, 1], to count as
            flat; the higher, the smoother.
    """

    radius: Annotated[float, Gt(0), Le(1000)] = 3.0
    epsilon: Annotated[float, Ge(1e-6), Le(1e6)] = 1e-3

    def __call__(
        self,
        segmentation: Segmentation,
        field: AnyField,
        *,
        rng: np.random.Generator | None = None,
        image: Image | None = None,
    ) -> Segmentation:
        """Labels of the picture's size.

        Raises:
            ComponentError: there is no picture.
        """
        image = needed(image, "Guided")
        height, width = image.height, image.width
        segments = compacted(segmentation)
        cell = (height * width / (field.grid[0] * field.grid[1])) ** 0.5
        count = segments.count
        shrink = max(1, self.radius * cell / _RADIUS, (4 * count * height * width / _FLOATS) ** 0.5)
        size = max(1, round(height / shrink)), max(1, round(width / shrink))
        maps = masks(segments, size).to(field.device)
        radius = max(1, round(self.radius * cell / shrink))
        factors = _linear_fits(picture_at(image, size).to(maps), maps, radius, self.epsilon)
        labels = np.empty((height, width), np.int32)
        for rows, fits in upsampled_bands(factors.flatten(0, 1), (height, width)):
            band = image.crop((0, rows.start, width, rows.stop))
            colours = picture_at(band, (band.height, width)).to(maps)
            slopes = rearrange(fits, "(map fit) h w -> map fit h w", fit=4)
            filtered = (slopes[:, :3] * colours).sum(1) + slopes[:, 3]
            labels[rows] = filtered.argmax(0).cpu().numpy()
        return Segmentation(labels, names=segments.names)


def _linear_fits(
    picture: torch.Tensor, maps: torch.Tensor, radius: int, epsilon: float
) -> torch.Tensor:
    """Mean slopes a and offsets b of every map at every pixel, (K, 4, H, W)."""
    mean = _box(picture, radius)
    products = rearrange(picture[:, None] * picture[None], "c d h w -> (c d) h w")
    products = rearrange(_box(products, radius), "(c d) h w -> c d h w", c=3)
    variance = products - mean[:, None] * mean[None]
    ridge = epsilon * torch.eye(3, device=maps.device)
    inverse = torch.linalg.inv(rearrange(variance, "c d h w -> h w c d") + ridge)
    fits = maps.new_empty(len(maps), 4, *maps.shape[1:])
    for one, out in zip(maps, fits, strict=True):
        level = _box(one[None], radius)
        covariance = _box(picture * one, radius) - mean * level
        slopes = torch.einsum("hwij,jhw->ihw", inverse, covariance)
        offset = level - (slopes * mean).sum(0, keepdim=True)
        out.copy_(_box(torch.cat([slopes, offset]), radius))
    return fits


def _box(maps: torch.Tensor, radius: int) -> torch.Tensor:
    """Means over windows of 2·radius + 1 pixels a side, cut off at the edges."""
    side = 2 * radius + 1
    for kernel, padding in (((side, 1), (radius, 0)), ((1, side), (0, radius))):
        maps = F.avg_pool2d(maps[None], kernel, 1, padding, count_include_pad=False)[0]
    return maps
