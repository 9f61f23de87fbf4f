"""The two values that flow through the toolkit: a field of attention, and a segmentation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from attnprobe.errors import AttnProbeError

if TYPE_CHECKING:
    from PIL.Image import Image

Size = tuple[int, int]
"""Height and width, in that order."""


@dataclass(frozen=True, eq=False)
class AttentionField:
    """Where every token of a grid looks: N maps of N entries, N = H·W.

    Args:
        rows: (N, N), float32; row i is query i's map over all keys and sums to 1. NumPy arrays
            and other float types are converted. Tokens are in row-major order.
        grid: (H, W), the token grid.
        origin: where the field came from, such as a layer's name.

    Raises:
        AttnProbeError: the shape does not fit the grid, or a row does not sum to 1.
    """

    rows: torch.Tensor
    grid: Size
    origin: str = ""

    def __post_init__(self) -> None:
        rows = torch.as_tensor(self.rows).detach().to(torch.float32)
        grid = (int(self.grid[0]), int(self.grid[1]))
        n = grid[0] * grid[1]
        if n < 1 or rows.shape != (n, n):
            raise AttnProbeError(
                f"AttentionField{self._said()}: rows must be (H·W, H·W) = ({n}, {n}) for the grid "
                f"{grid[0]}×{grid[1]}. Got {tuple(rows.shape)} instead."
            )
        sums = rows.sum(1)
        bad = ~((sums - 1).abs() < 1e-2)  # written so that NaN is bad too
        if bad.any():
            i = int(bad.nonzero()[0])
            raise AttnProbeError(
                f"AttentionField{self._said()}: each row must sum to 1. "
                f"Row {i} sums to {sums[i].item():.6g} instead."
            )
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "grid", grid)

    def _said(self) -> str:
        return f" from {self.origin}" if self.origin else ""

    def map_at(self, y: int, x: int) -> torch.Tensor:
        """The map (H, W) of the query at row y, column x of the grid."""
        height, width = self.grid
        if not (0 <= y < height and 0 <= x < width):
            raise AttnProbeError(
                f"map_at: the grid is {height}×{width}, so y must be 0 to {height - 1} and "
                f"x 0 to {width - 1}. Got ({y}, {x}) instead."
            )
        return self.rows[y * width + x].view(height, width)

    def symmetric(self) -> torch.Tensor:
        """The symmetric affinity ½(A + Aᵀ), (N, N)."""
        return 0.5 * (self.rows + self.rows.T)

    def resized(self, grid: Size) -> AttentionField:
        """The field on another grid: keys bilinear and summing to 1 again, queries nearest."""
        from attnprobe.resample import resample

        return replace(self, rows=resample(self.rows, self.grid, grid), grid=grid)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A label for every cell of a grid or pixel of an image.

    Args:
        labels: (H, W) int32, each 0 or more. Numbers may have gaps.
        proposals: (K, h, w) float32, a soft map for each label on the grouper's own grid, or None.
        names: what each label is called, by number, or None.
    """

    labels: np.ndarray
    proposals: torch.Tensor | None = None
    names: dict[int, str] | None = None

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels)
        if labels.ndim != 2 or labels.size == 0 or not np.issubdtype(labels.dtype, np.integer):
            raise AttnProbeError(
                "Segmentation: labels must be whole numbers of shape (H, W). "
                f"Got {labels.dtype} of shape {labels.shape} instead."
            )
        if labels.min() < 0:
            raise AttnProbeError(
                f"Segmentation: labels must be 0 or more. Got {labels.min()} instead."
            )
        object.__setattr__(self, "labels", labels.astype(np.int32, copy=False))

    @property
    def size(self) -> Size:
        """(H, W) of the labels."""
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def count(self) -> int:
        """How many segments there are: labels that occur."""
        return int(np.unique(self.labels).size)

    def resized(self, size: Size) -> Segmentation:
        """The segmentation at another size (H, W).

        Proposals are upsampled bilinearly first and the labels are their argmax, the first one
        winning a tie (Tian et al. 2024, section 3.3); labels alone are taken nearest. The
        proposals kept are still those of the grouper's grid, so resizing twice loses nothing.
        """
        if min(size) < 1:
            raise AttnProbeError(f"resized: a size must be at least 1×1. Got {size} instead.")
        if self.proposals is None:
            tensor = torch.from_numpy(self.labels)[None, None].double()
            labels = F.interpolate(tensor, size=size, mode="nearest-exact")[0, 0].to(torch.int32)
        else:
            labels = _argmax_upsampled(self.proposals, size)
        return replace(self, labels=labels.numpy())

    def save(self, path: str | Path) -> None:
        """Write the labels as an indexed PNG (8 bits up to 256 numbers, 16 bits grey above)."""
        from attnprobe.view.labels import save_labels

        save_labels(self.labels, Path(path))

    def overlay(self, image: Image, alpha: float = 0.55) -> Image:
        """The image with each segment's colour over it and lines between segments."""
        from attnprobe.view.overlay import overlay

        return overlay(image, self.labels, alpha=alpha)

    def _repr_html_(self) -> str:
        from attnprobe.view.html import segmentation_html

        return segmentation_html(self)


def _argmax_upsampled(proposals: torch.Tensor, size: Size) -> torch.Tensor:
    """Bilinear upsampling of (K, h, w) to `size` and argmax over K, in bounded memory."""
    from attnprobe.resample import upsampled_bands

    labels = torch.empty(size, dtype=torch.int32)
    for rows, maps in upsampled_bands(proposals, size, _BAND_ELEMENTS):
        labels[rows] = maps.argmax(0).to(torch.int32).cpu()
    return labels


_BAND_ELEMENTS = 1 << 23
"""Floats of a band: 32 MB."""
