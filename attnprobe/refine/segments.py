"""What refiners share: segments numbered without gaps, counted over cells, and made soft."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from einops import rearrange

from attnprobe.errors import ComponentError
from attnprobe.fields import Segmentation, Size
from attnprobe.lazy import F, torch

if TYPE_CHECKING:
    from PIL.Image import Image

_BAND = 1 << 22
"""Pixels of a band: what is done to labels as large as the picture is done band by band."""


def needed(image: Image | None, refiner: str) -> Image:
    """The picture, which a refiner can't do without.

    Raises:
        ComponentError: there is none.
    """
    if image is None:
        raise ComponentError(f"{refiner}: needs the picture that is segmented. Got none.")
    return image


def compacted(segmentation: Segmentation) -> Segmentation:
    """The same segments numbered 0 to K − 1; proposals and names of absent numbers are left out."""
    given = segmentation.labels
    parts = [rows for rows, _ in bands(given.shape)]
    values = np.unique(np.concatenate([np.unique(given[rows]) for rows in parts]))
    labels = np.empty_like(given)
    for rows in parts:
        labels[rows] = np.searchsorted(values, given[rows])
    proposals, names = segmentation.proposals, segmentation.names
    return Segmentation(
        labels,
        None if proposals is None else proposals[torch.from_numpy(values).to(proposals.device)],
        None if names is None else {i: names[v] for i, v in enumerate(values) if v in names},
    )


def bands(size: Size, margin: int = 0) -> Iterator[tuple[slice, slice]]:
    """Bands of rows that cover a picture: the rows, and those rows with `margin` around them."""
    height, width = size
    step = max(1, _BAND // width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        yield slice(top, bottom), slice(max(0, top - margin), min(height, bottom + margin))


def cell_counts(labels: np.ndarray, grid: Size) -> np.ndarray:
    """How many pixels of each label lie in each cell of a grid, (K, cells) int64."""
    count, cells = int(labels.max()) + 1, grid[0] * grid[1]
    y, x = ((2 * np.arange(n) + 1) * s // (2 * n) for s, n in zip(grid, labels.shape, strict=True))
    total = np.zeros(count * cells, np.int64)
    for rows, _ in bands(labels.shape):
        cell = y[rows, None] * grid[1] + x
        total += np.bincount((labels[rows] * cells + cell).ravel(), minlength=total.size)
    return total.reshape(count, cells)


def masks(segmentation: Segmentation, size: Size) -> torch.Tensor:
    """A mask for each label at a size, (K, H, W), summing to 1 over labels.

    Of labels as small as the grid's they are interpolated bilinearly, of larger ones they are the
    shares of the pixels in each cell. Proposals are left aside: how much one segment is attended to
    more than another says little about where it ends, and what is refined from them scores less.
    """
    own = segmentation.size
    grid = min(own[0], size[0]), min(own[1], size[1])
    counts = torch.from_numpy(cell_counts(segmentation.labels, grid)).float()
    counts = rearrange(counts, "label (h w) -> label h w", h=grid[0])
    shares = F.interpolate(counts[None], size=size, mode="bilinear")[0]
    return shares / shares.sum(0)


def picture_at(image: Image, size: Size) -> torch.Tensor:
    """The picture at a size by averaging its pixels, (3, H, W) float32 in [0, 1]."""
    from PIL.Image import Resampling

    small = image.convert("RGB").resize((size[1], size[0]), Resampling.BOX)
    return (
        rearrange(torch.from_numpy(np.array(small, np.float32)), "h w colour -> colour h w") / 255
    )


def reduced_size(image: Image, side: int) -> Size:
    """The size of the picture, or that in its aspect of about side² pixels if it has more."""
    scale = min(1.0, side / (image.height * image.width) ** 0.5)
    height = min(max(1, round(image.height * scale)), side**2)
    return height, min(max(1, round(image.width * scale)), max(1, side**2 // height))
