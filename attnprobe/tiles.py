"""A picture seen through overlapping windows, and the maps of the windows joined into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, isqrt
from typing import Any

from einops import rearrange

from attnprobe.errors import ComponentError
from attnprobe.fields import AnyField, AttentionField, Size, WordMaps
from attnprobe.lazy import torch
from attnprobe.resample import nearest_cells, resample_keys

OVERLAP = 0.25
"""Share of a window's side that its neighbour sees too, at least."""


@dataclass(frozen=True)
class Window:
    """A part of an enlarged picture.

    Args:
        top: rows of the enlarged picture above it.
        left: columns left of it.
        size: (H, W) of the window, in the same unit.
    """

    top: int
    left: int
    size: Size

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """The window's part of values (…, H, W) of the enlarged picture."""
        height, width = self.size
        return values[..., self.top : self.top + height, self.left : self.left + width]

    def on(self, grid: Size) -> Window:
        """The same window counted in the tokens of a grid (h, w) that lies over it.

        Raises:
            ComponentError: its edges don't lie between tokens.
        """
        edges = [(self.top * grid[0], self.size[0]), (self.left * grid[1], self.size[1])]
        if any(pixels % side for pixels, side in edges):
            raise ComponentError(
                f"probe.tiles: tokens of a {grid[0]}×{grid[1]} grid don't end where windows of "
                f"{self.size[0]}×{self.size[1]} px do; leave such layers out, or give tiles: 1"
            )
        (top, height), (left, width) = edges
        return Window(top // height, left // width, grid)


def count_windows(tiles: int) -> int:
    """How many windows see a picture `tiles` times as large along each side."""
    return ceil((tiles - OVERLAP) / (1 - OVERLAP)) ** 2


def windows(size: Size, tiles: int, multiple: int) -> list[Window]:
    """Windows of one size (H, W) over a picture `tiles` times as large along each side.

    They are evenly spaced, begin at multiples of `multiple` pixels and overlap by a quarter or a
    little less, where rounding takes some.
    """
    count = isqrt(count_windows(tiles))
    steps = max(1, count - 1)
    tops, lefts = (
        [round(i * (tiles - 1) * side / steps / multiple) * multiple for i in range(count)]
        for side in size
    )
    return [Window(top, left, size) for top in tops for left in lefts]


def join(whole: AnyField, parts: Sequence[Any], places: Sequence[Window]) -> AnyField:
    """One layer's values of the windows as one, on a grid of the enlarged picture's.

    Of attention between places, the whole picture says how much of a query's attention falls into
    a window, and the window says where in it:  A(q, k) = P(q, w) · A_w(q, k) for keys k in the
    window w, where P(q, w) = Σ_{k ∈ w} A(q, k) of the whole picture's, upsampled; outside w it is
    the whole picture's A. Windows that share a query are averaged, weighing more towards their
    middles; so are words' maps and features, with no regard to the whole picture.

    Args:
        whole: what the layer gave for the whole picture.
        parts: what it gave for each window, on the same grid as `whole`.
        places: where the windows lie, in pixels of the enlarged picture.

    Raises:
        ComponentError: tokens don't end where windows do.
    """
    at = [place.on(whole.grid) for place in places]
    size = (max(w.top + w.size[0] for w in at), max(w.left + w.size[1] for w in at))
    if isinstance(whole, WordMaps):
        return replace(whole, maps=_blended([part.maps for part in parts], at, size))
    features = whole.features
    if features is not None:
        kept = [rearrange(part.features, "h w c -> c h w") for part in parts]
        features = rearrange(_blended(kept, at, size), "c h w -> h w c")
    rows = _joined(whole, [part.rows for part in parts], at, size)
    return AttentionField(rows, size, whole.origin, features)


def _joined(
    whole: AttentionField, parts: Sequence[torch.Tensor], at: Sequence[Window], size: Size
) -> torch.Tensor:
    """The rows (N, N) on the grid `size`, a row of queries at a time."""
    height, width = size
    nearest = nearest_cells(whole.grid, size, whole.device).view(size)
    weights = [_tent(window.size).to(whole.device) for window in at]
    total = _sum(weights, at, size)
    rows = torch.empty(height * width, height * width, device=whole.device)
    for y in range(height):
        base = resample_keys(whole.rows[nearest[y]], whole.grid, size).view(width, height, width)
        found = base.clone()
        for window, part, weight in zip(at, parts, weights, strict=True):
            h, w = window.size
            if not window.top <= y < window.top + h:
                continue
            queries = slice(window.left, window.left + w)
            coarse = window.of(base[queries])
            fine = part.view(h, w, h, w)[y - window.top]
            fine = fine * coarse.sum((1, 2), keepdim=True)
            share = weight[y - window.top] / total[y, queries]
            window.of(found[queries]).add_((fine - coarse) * share[:, None, None])
        rows[y * width : (y + 1) * width] = found.flatten(1)
    return rows.clamp_(min=0)  # differences of nearly equal numbers may fall below


def _blended(values: Sequence[torch.Tensor], at: Sequence[Window], size: Size) -> torch.Tensor:
    """Values (C, h, w) of the windows as one (C, H, W)."""
    weights = [_tent(window.size).to(values[0]) for window in at]
    weighted = [value * weight for value, weight in zip(values, weights, strict=True)]
    return _sum(weighted, at, size) / _sum(weights, at, size)


def _sum(values: Sequence[torch.Tensor], at: Sequence[Window], size: Size) -> torch.Tensor:
    total = values[0].new_zeros(*values[0].shape[:-2], *size)
    for value, window in zip(values, at, strict=True):
        window.of(total).add_(value)
    return total


def _tent(size: Size) -> torch.Tensor:
    """(H, W) weights that fall in straight lines from the middle to the edges, none to nothing."""
    y, x = (torch.minimum(torch.arange(n) + 1, n - torch.arange(n)).float() for n in size)
    return y[:, None] * x
