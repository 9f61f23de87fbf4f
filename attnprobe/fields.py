"""The values that flow through the toolkit: attention between places, from places to words, and
a segmentation."""

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
    from supervision import Detections

    from attnprobe.group.diffseg import DiffSeg
    from attnprobe.pipeline import ImageLike
    from attnprobe.view.widget import Explorer

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
        features: (H, W, C) float32, what the layer hands on at each token, where that was kept.

    Raises:
        AttnProbeError: a shape does not fit the grid, or a row does not sum to 1.
    """

    rows: torch.Tensor
    grid: Size
    origin: str = ""
    features: torch.Tensor | None = None

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
        if self.features is not None:
            object.__setattr__(self, "features", self._checked_features(self.features))

    def _checked_features(self, given: torch.Tensor) -> torch.Tensor:
        features = torch.as_tensor(given).detach().to(torch.float32)
        if features.ndim != 3 or features.shape[:2] != self.grid or not features.isfinite().all():
            raise AttnProbeError(
                f"AttentionField{self._said()}: features must be finite, of shape (H, W, C) on the "
                f"grid {self.grid[0]}×{self.grid[1]}. Got {tuple(features.shape)} instead."
            )
        return features

    @property
    def device(self) -> torch.device:
        """Where the rows lie."""
        return self.rows.device

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
        """The field on another grid: keys bilinear and summing to 1 again, queries nearest.

        Features are left behind.
        """
        from attnprobe.resample import resample

        rows = resample(self.rows, self.grid, grid)
        return replace(self, rows=rows, grid=grid, features=None)

    def explore(
        self, image: ImageLike, group: DiffSeg | None = None, words: WordMaps | None = None
    ) -> Explorer:
        """The field over its picture, to point at in a notebook; see `explore_field`."""
        from attnprobe.view.widget import explore_field

        return explore_field(self, image, group, words)

    def __repr__(self) -> str:
        beside = "" if self.features is None else f", {self.features.shape[2]} features"
        return f"AttentionField{self._said()}: {self.grid[0]}×{self.grid[1]}{beside}"

    def _repr_html_(self) -> str:
        from attnprobe.view.html_field import field_html

        return field_html(self)


@dataclass(frozen=True, eq=False)
class WordMaps:
    """Where on a grid each word is looked at from: a map a word.

    Args:
        maps: (K, H, W), float32, 0 or more; a cell's value is the attention it pays to the word.
        words: the K words.
        origin: where the maps came from, such as a layer's name.

    Raises:
        AttnProbeError: the shape does not fit the words, or a value is negative or not finite.

    Examples:
        >>> maps["cat"].argmax()
    """

    maps: torch.Tensor
    words: tuple[str, ...]
    origin: str = ""

    def __post_init__(self) -> None:
        maps, words = torch.as_tensor(self.maps).detach().to(torch.float32), tuple(self.words)
        said = f"WordMaps from {self.origin}" if self.origin else "WordMaps"
        if maps.ndim != 3 or maps.numel() == 0 or len(maps) != len(words):
            raise AttnProbeError(
                f"{said}: maps must be (words, H, W), for {len(words)} words here. "
                f"Got {tuple(maps.shape)} instead."
            )
        if len(set(words)) < len(words):
            raise AttnProbeError(f"{said}: words must differ. Got {', '.join(words)} instead.")
        if not (maps.isfinite().all() and maps.min() >= 0):
            raise AttnProbeError(f"{said}: values must be finite and 0 or more.")
        object.__setattr__(self, "maps", maps)
        object.__setattr__(self, "words", words)

    @property
    def grid(self) -> Size:
        """(H, W) of the maps."""
        return self.maps.shape[1], self.maps.shape[2]

    @property
    def device(self) -> torch.device:
        """Where the maps lie."""
        return self.maps.device

    def __getitem__(self, word: str) -> torch.Tensor:
        """The map (H, W) of a word."""
        if word not in self.words:
            from attnprobe.registry import did_you_mean

            raise AttnProbeError(f"no map of the word {word!r}{did_you_mean(word, [*self.words])}")
        return self.maps[self.words.index(word)]


AnyField = AttentionField | WordMaps
"""What aggregators give, and groupers and refiners work on."""


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
        """Write the labels as a grey PNG (8 bits up to 256 numbers, 16 bits above) or a .npy."""
        from attnprobe.view.labels import save_labels

        save_labels(self.labels, Path(path))

    def to_supervision(self) -> Detections:
        """The segments as supervision's detections: masks and boxes, `class_id` the labels.

        Raises:
            AttnProbeError: supervision isn't installed.
        """
        from attnprobe.export.supervision import detections

        return detections(self)

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
