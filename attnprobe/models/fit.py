"""Fitting a picture of any size and shape to what a model takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from einops import rearrange
from PIL.Image import Resampling

from attnprobe.fields import Size
from attnprobe.lazy import F, torch

if TYPE_CHECKING:
    from PIL.Image import Image

Fit = Literal["resize", "crop"]


@dataclass(frozen=True)
class ImageFit:
    """The part of a picture that a model sees, and the size at which it does.

    Args:
        box: (left, top, right, bottom) in the picture's pixels.
        size: (H, W) fed to the model.
        cut: what was left out of the picture, in a sentence, or None.
    """

    box: tuple[int, int, int, int]
    size: Size
    cut: str | None = None

    @property
    def box_size(self) -> Size:
        """(H, W) of the part in the picture's own pixels."""
        left, top, right, bottom = self.box
        return bottom - top, right - left

    def crop(self, array: np.ndarray) -> np.ndarray:
        """The same part of an array (H, W, …) of the picture's size."""
        left, top, right, bottom = self.box
        return array[top:bottom, left:right]


def fit_image(image: Size, side: int, fit: Fit, multiple: int) -> ImageFit:
    """Decide what a model sees of a picture (H, W).

    ``resize``: all of it, at about side² pixels in its own aspect, each side rounded to a multiple
    of what the model divides it by, so that every token grid lies exactly over the picture.
    ``crop``: the centre square, side min(H, W), offsets rounded down, as the benchmarks do.
    """
    height, width = image
    if fit == "crop":
        edge = min(image)
        top, left = (height - edge) // 2, (width - edge) // 2
        size = _rounded(side, multiple)
        box = (left, top, left + edge, top + edge)
        return ImageFit(box, (size, size), _describe_cut(image, box))
    scale = side / (height * width) ** 0.5
    shortest, longest = min(image) * scale, max(image) * scale
    if shortest < multiple:  # a strip thinner than one step keeps its area, not its aspect
        shortest, longest = multiple, side * side / multiple
    shortest, longest = _rounded(shortest, multiple), _rounded(longest, multiple)
    size_hw = (shortest, longest) if height <= width else (longest, shortest)
    return ImageFit((0, 0, width, height), size_hw)


def _rounded(length: float, multiple: int) -> int:
    return max(1, round(length / multiple)) * multiple


def _describe_cut(image: Size, box: tuple[int, int, int, int]) -> str | None:
    left, top, right, bottom = box
    height, width = image
    edges = {"left": left, "right": width - right, "top": top, "bottom": height - bottom}
    cuts = [f"{pixels} px {side}" for side, pixels in edges.items() if pixels]
    return f"fit: crop cut {' and '.join(cuts)} of {width}×{height}" if cuts else None


def to_pixels(image: Image, place: ImageFit, fit: Fit) -> torch.Tensor:
    """What a model sees of a picture, as a batch (1, 3, H, W), float32 in [−1, 1].

    Bilinear; for ``crop`` without antialiasing, as DiffSeg's program resizes, for ``resize`` with
    it, so that large photographs do not alias.
    """
    whole = place.box == (0, 0, *image.size)
    seen = image if whole else image.crop(place.box)
    if fit == "resize":
        height, width = place.size
        seen = seen.resize((width, height), Resampling.BILINEAR)  # Pillow's are antialiased
    pixels = rearrange(torch.from_numpy(np.array(seen, np.float32)), "h w colour -> 1 colour h w")
    return F.interpolate(pixels, size=place.size, mode="bilinear", align_corners=False) / 127.5 - 1
