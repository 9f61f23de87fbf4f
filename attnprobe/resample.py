"""Maps from one token grid to another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attnprobe.lazy import F, torch

Grid = tuple[int, int]

_CHUNK = 512
"""Query rows brought to the finest grid at once."""


def resample_keys(rows: torch.Tensor, grid: Grid, to: Grid) -> torch.Tensor:
    """Maps (Q, h·w) over one grid as maps (Q, H·W) over another, each summing to 1 again.

    Bilinear with half-pixel centres, no antialiasing (diffseg's own rule when it enlarges).
    """
    maps = rows.view(-1, 1, *grid)
    maps = F.interpolate(maps, size=to, mode="bilinear", align_corners=False).flatten(1)
    return maps / maps.sum(1, keepdim=True)


def nearest_cells(grid: Grid, to: Grid, device: torch.device | None = None) -> torch.Tensor:
    """For each cell of the grid `to`, the number of the nearest cell of `grid`, (H·W,) int64.

    Cell i of n lies at (i + ½)/n; where n/s is a whole number this repeats each coarse cell n/s
    times, and elsewhere it is the same rule with a real-valued ratio.
    """
    y, x = (
        (2 * torch.arange(n, device=device) + 1) * s // (2 * n)
        for s, n in zip(grid, to, strict=True)
    )
    return (y[:, None] * grid[1] + x[None, :]).flatten()


def resample(rows: torch.Tensor, grid: Grid, to: Grid) -> torch.Tensor:
    """A field's rows (h·w, h·w) on another grid: keys bilinear, queries nearest."""
    return resample_keys(rows, grid, to)[nearest_cells(grid, to, rows.device)]


def finest(grids: Iterable[Grid]) -> Grid:
    """The grid of most tokens; the first of equals."""
    return max(grids, key=lambda grid: grid[0] * grid[1])


def weighted_sum(layers: Sequence[tuple[Grid, torch.Tensor, float]]) -> torch.Tensor:
    """Σ w·A over (grid, A, w), each brought to the finest grid; by chunks of queries."""
    to = finest(grid for grid, _, _ in layers)
    n = to[0] * to[1]
    total = torch.zeros(n, n, device=layers[0][1].device)
    for grid, rows, weight in layers:
        maps = resample_keys(rows, grid, to)
        queries = nearest_cells(grid, to, maps.device)
        for top in range(0, n, _CHUNK):
            part = slice(top, top + _CHUNK)
            total[part].add_(maps[queries[part]], alpha=weight)
    return total


def upsampled_bands(
    maps: torch.Tensor, size: Grid, elements: int = 1 << 23
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Maps (C, h, w) enlarged bilinearly to `size`, a band of rows at a time: (rows, (C, b, W)).

    Rows are interpolated by hand (half-pixel centres, as ``F.interpolate``), so that a band needs
    no neighbour and none holds more than about `elements` floats, whatever the size.
    """
    count, h, _ = maps.shape
    height, width = size
    centre = ((torch.arange(height, dtype=torch.float64) + 0.5) * (h / height) - 0.5).clamp(min=0)
    low = centre.floor().long().clamp(max=h - 1)
    part = (centre - low).to(maps)[None, :, None]
    low = low.to(maps.device)
    high = (low + 1).clamp(max=h - 1)
    band = max(1, elements // (count * width))
    for top in range(0, height, band):
        rows = slice(top, min(top + band, height))
        mixed = torch.lerp(maps[:, low[rows]], maps[:, high[rows]], part[:, rows])
        wide = (mixed.shape[1], width)
        yield rows, F.interpolate(mixed[None], size=wide, mode="bilinear", align_corners=False)[0]


def pooled_grid(grid: Grid, side: int) -> Grid:
    """The largest grid of about the same aspect with at most side² cells; never a finer one."""
    scale = min(1.0, side / (grid[0] * grid[1]) ** 0.5)
    height = max(1, min(round(grid[0] * scale), side * side))
    width = max(1, min(round(grid[1] * scale), side * side // height))
    return height, width


def pool(rows: torch.Tensor, grid: Grid, to: Grid) -> torch.Tensor:
    """Maps (N, N) between the tokens of a grid as maps between the larger cells of another.

    A cell's map is the mean over its area of its queries' maps; a key cell has the sum of its keys'
    probabilities, so rows sum to what they did. A token on a border counts to both cells by the
    area it has in each.
    """
    height, width = (_shares(n, cells).to(rows.device) for n, cells in zip(grid, to, strict=True))
    means = (height / height.sum(1, keepdim=True), width / width.sum(1, keepdim=True))
    maps = rows.float().view(*grid, *grid)
    for shares in (*means, height, width):  # each contracts the first axis and comes last
        maps = torch.tensordot(maps, shares, dims=([0], [1]))
    return maps.reshape(to[0] * to[1], -1)


def _shares(tokens: int, cells: int) -> torch.Tensor:
    """(cells, tokens): which part of each token lies in each cell, along one axis."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * (tokens / cells)
    starts = torch.arange(tokens, dtype=torch.float64)
    ends = torch.minimum(edges[1:, None], starts + 1)
    return (ends - torch.maximum(edges[:-1, None], starts)).clamp(min=0).float()
