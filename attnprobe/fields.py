"""The values that flow through the toolkit: attention between places, from places to words, and
a segmentation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attnprobe.errors import AttnProbeError, did_you_mean
from attnprobe.lazy import F, torch

if TYPE_CHECKING:
    from PIL.Image import Image
    from supervision import Detections

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
        AttnProbeError: a shape does not fit the grid, an entry is negative, or a row does not sum
            to 1.

    Examples:
        >>> field = ap.AttentionField(np.full((4, 4), 0.25), grid=(2, 2))
        >>> field
        AttentionField: 2×2
        >>> field.map_at(0, 1).shape
        torch.Size([2, 2])
    """

    rows: torch.Tensor
    grid: Size
    origin: str = ""
    features: torch.Tensor | None = None

    def __post_init__(self) -> None:
        rows = _tensor(self.rows, f"AttentionField{self._from()}: rows")
        grid = _size(self.grid, f"AttentionField{self._from()}: grid")
        n = grid[0] * grid[1]
        if n < 1 or rows.shape != (n, n):
            raise AttnProbeError(
                f"AttentionField{self._from()}: rows must be (H·W, H·W) = ({n}, {n}) for the grid "
                f"{grid[0]}×{grid[1]}. Got {tuple(rows.shape)} instead."
            )
        low = rows.amin(1)
        if (low < 0).any():
            i = int((low < 0).nonzero()[0])
            raise AttnProbeError(
                f"AttentionField{self._from()}: probabilities must be 0 or more. "
                f"Row {i} has {low[i].item():.6g}."
            )
        sums = rows.sum(1)
        bad = ~((sums - 1).abs() < 1e-2)  # written so that NaN is bad too
        if bad.any():
            i = int(bad.nonzero()[0])
            raise AttnProbeError(
                f"AttentionField{self._from()}: each row must sum to 1. "
                f"Row {i} sums to {sums[i].item():.6g} instead."
            )
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "grid", grid)
        if self.features is not None:
            object.__setattr__(self, "features", self._checked_features(self.features))

    def _checked_features(self, given: torch.Tensor) -> torch.Tensor:
        features = _tensor(given, f"AttentionField{self._from()}: features")
        if features.ndim != 3 or features.shape[:2] != self.grid or not features.isfinite().all():
            raise AttnProbeError(
                f"AttentionField{self._from()}: features must be finite, of shape (H, W, C) on the "
                f"grid {self.grid[0]}×{self.grid[1]}. Got {tuple(features.shape)} instead."
            )
        return features

    @property
    def device(self) -> torch.device:
        """Where the rows lie."""
        return self.rows.device

    def _from(self) -> str:
        return f" from {self.origin}" if self.origin else ""

    def map_at(self, y: int, x: int) -> torch.Tensor:
        """The map (H, W) of the query at row y, column x of the grid."""
        height, width = self.grid
        whole = isinstance(y, int | np.integer) and isinstance(x, int | np.integer)
        if not (whole and 0 <= y < height and 0 <= x < width):
            raise AttnProbeError(
                f"map_at: the grid is {height}×{width}, so y must be 0 to {height - 1} and "
                f"x 0 to {width - 1}. Got ({y}, {x}) instead."
            )
        return self.rows[y * width + x].view(height, width)

    def symmetric(self) -> torch.Tensor:
        """The symmetric affinity ½(A + Aᵀ), (N, N)."""
        # Copied first: adding rows to columns in place of that takes three times as long.
        turned = self.rows.T.clone(memory_format=torch.contiguous_format)
        return turned.add_(self.rows).mul_(0.5)

    def resized(self, grid: Size) -> AttentionField:
        """The field on another grid: keys bilinear and summing to 1 again, queries nearest.

        Features are left behind.
        """
        from attnprobe.resample import resample

        grid = _size(grid, "resized: a grid")
        rows = resample(self.rows, self.grid, grid)
        return replace(self, rows=rows, grid=grid, features=None)

    def __repr__(self) -> str:
        beside = "" if self.features is None else f", {self.features.shape[2]} features"
        return f"AttentionField{self._from()}: {self.grid[0]}×{self.grid[1]}{beside}"

    def _repr_html_(self) -> str:
        from attnprobe.notebook.field import field_html

        return field_html(self)


@dataclass(frozen=True, eq=False)
class WordMaps:
    """Where on a grid each word is looked at from: a map a word.

    Args:
        maps: (K, H, W), float32, 0 or more; a cell's value is the attention it pays to the word,
            NaN where the model's own numbers were none: that can be looked at, but no stage takes
            it (`refuse_nan`).
        words: the K words; one may be a plain text.
        origin: where the maps came from, such as a layer's name.

    Raises:
        AttnProbeError: the shape does not fit the words, or a value is negative or infinite.

    Examples:
        >>> maps = ap.WordMaps(np.eye(2)[None], words="cat")
        >>> maps["cat"].argmax()
        tensor(0)
    """

    maps: torch.Tensor
    words: tuple[str, ...]
    origin: str = ""

    def __post_init__(self) -> None:
        said = f"WordMaps from {self.origin}" if self.origin else "WordMaps"
        words = (self.words,) if isinstance(self.words, str) else tuple(self.words)
        maps = _tensor(self.maps, f"{said}: maps")
        if maps.ndim != 3 or maps.numel() == 0 or len(maps) != len(words):
            raise AttnProbeError(
                f"{said}: maps must be (words, H, W), for {len(words)} words here. "
                f"Got {tuple(maps.shape)} instead."
            )
        if len(set(words)) < len(words):
            raise AttnProbeError(f"{said}: words must differ. Got {', '.join(words)} instead.")
        if maps.isinf().any() or (maps < 0).any():
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
            raise AttnProbeError(f"no map of the word {word!r}{did_you_mean(word, [*self.words])}")
        return self.maps[self.words.index(word)]


AnyField = AttentionField | WordMaps
"""What aggregators give, and groupers and refiners work on."""


def refuse_nan(fields: Iterable[AnyField], who: str) -> None:
    """Refuse maps that are no numbers, by the layer that they are of.

    Raises:
        AttnProbeError: a map has NaN; `who` was to work on it. Of an `AttentionField` it can't.
    """
    for field in fields:
        if isinstance(field, WordMaps) and field.maps.isnan().any():
            raise AttnProbeError(
                f"{who}: the maps of {field.origin or 'the words'} have NaN, for the model's own "
                "numbers overflowed there; use another type of numbers, such as float32"
            )


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A label for every cell of a grid or pixel of an image.

    Args:
        labels: (H, W) int32, each 0 or more. Numbers may have gaps.
        proposals: (K, h, w) float32, a soft map for each label on the grouper's own grid, or None.
        names: what each label is called, by number, or None.

    Examples:
        >>> segments = ap.Segmentation(np.array([[0, 0], [1, 1]]), names={0: "sky", 1: "sea"})
        >>> segments
        Segmentation: 2 segments, 2×2, sky, sea
        >>> segments.resized((4, 4)).labels[:, 0]
        array([0, 0, 1, 1], dtype=int32)
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
        if labels.max() > np.iinfo(np.int32).max:
            raise AttnProbeError(
                "Segmentation: labels must be at most 2,147,483,647, the largest of 32 bits. "
                f"Got {labels.max()} instead."
            )
        object.__setattr__(self, "labels", labels.astype(np.int32, copy=False))
        if self.names is not None and not isinstance(self.names, dict):
            raise AttnProbeError(
                "Segmentation: names are by label's number, such as {0: 'sky', 1: 'sea'}. "
                f"Got {self.names!r} instead."
            )
        if self.proposals is None:
            return
        maps = _tensor(self.proposals, "Segmentation: proposals")
        if maps.ndim != 3 or maps.numel() == 0 or not maps.isfinite().all():
            raise AttnProbeError(
                "Segmentation: proposals must be finite, of shape (labels, h, w). "
                f"Got {tuple(maps.shape)} with {int(maps.isnan().sum())} NaN instead."
            )
        object.__setattr__(self, "proposals", maps)

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
        size = _size(size, "resized: a size")
        if self.proposals is None:
            tensor = torch.from_numpy(self.labels)[None, None].double()
            labels = F.interpolate(tensor, size=size, mode="nearest-exact")[0, 0].to(torch.int32)
        else:
            labels = _argmax_upsampled(self.proposals, size)
        return replace(self, labels=labels.numpy())

    def save(self, path: str | Path) -> None:
        """Write the labels as a grey PNG (8 bits up to number 254, 16 bits above) or a .npy."""
        from attnprobe.pictures.labels import save_labels

        save_labels(self.labels, Path(path))

    def to_supervision(self) -> Detections:
        """The segments as supervision's detections: masks and boxes, `class_id` the labels.

        Raises:
            AttnProbeError: supervision isn't installed.
        """
        from attnprobe.pictures.supervision import detections

        return detections(self.labels, self.names or {})

    def overlay(self, image: Image, alpha: float = 0.55) -> Image:
        """The image with each segment's colour over it, lines between segments, and their names."""
        from attnprobe.pictures.legend import write_names
        from attnprobe.pictures.overlay import overlay

        laid = overlay(image, self.labels, alpha=alpha)
        return write_names(laid, self.labels, self.names) if self.names else laid

    def __repr__(self) -> str:
        named = "" if not self.names else f", {', '.join(map(str, self.names.values()))}"
        segments = "1 segment" if self.count == 1 else f"{self.count} segments"
        return f"Segmentation: {segments}, {self.size[0]}×{self.size[1]}{named}"

    def _repr_html_(self) -> str:
        from attnprobe.notebook.segmentation import segmentation_html

        return segmentation_html(self)


def _tensor(given: Any, what: str) -> torch.Tensor:
    """Numbers as float32, off the graph."""
    try:
        return torch.as_tensor(given).detach().to(torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise AttnProbeError(
            f"{what} must be numbers, an array or a tensor. Got {type(given).__name__} instead."
        ) from None


def _size(given: Any, what: str) -> Size:
    """Height and width, whole numbers of 1 or more."""
    pair = tuple(given) if isinstance(given, list | tuple | torch.Size) else ()
    if len(pair) != 2 or not all(isinstance(n, int | np.integer) and n >= 1 for n in pair):
        raise AttnProbeError(
            f"{what} must be (height, width), whole numbers of at least 1. Got {given} instead."
        )
    return int(pair[0]), int(pair[1])


def _argmax_upsampled(proposals: torch.Tensor, size: Size) -> torch.Tensor:
    """Bilinear upsampling of (K, h, w) to `size` and argmax over K, in bounded memory."""
    from attnprobe.resample import upsampled_bands

    labels = torch.empty(size, dtype=torch.int32)
    for rows, maps in upsampled_bands(proposals, size, _BAND_ELEMENTS):
        labels[rows] = maps.argmax(0).to(torch.int32).cpu()
    return labels


_BAND_ELEMENTS = 1 << 23
"""Floats of a band: 32 MB."""
