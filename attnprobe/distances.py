"""Distances between attention maps, all pairs at once and in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from attnprobe.lazy import F, torch

Metric = Literal["kl", "js", "hellinger", "euclidean", "cosine"]
"""The names of `DISTANCES`, as recipes have them."""

BUDGET = 128 << 20
"""Bytes that a table of distances takes beside the table itself."""

_CACHED = 1 << 20
"""Bytes of a tile that a processor's cache holds: Jensen–Shannon tiles of that are the fastest."""

_LEAST = 1e-12
"""Probabilities below this count as this, so that maps with zeros have a divergence."""


_ROUNDING = 8
"""Units of the last digit up to which a sum of squares may be off."""


def symmetric_kl(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """D(x, y) = ½ Σ (x − y)(log x − log y) for all pairs of rows (X, N) and (Y, N): (X, Y).

    Half of KL(x‖y) + KL(y‖x), natural logarithm. Multiplied out it is two matrix products and the
    rows' own entropies. A row that holds an exact zero is at NaN from every row; NaN fails ``<``.
    """
    log_x, log_y = x.log(), y.log()
    own_x, own_y = (x * log_x).sum(1), (y * log_y).sum(1)
    return 0.5 * (own_x[:, None] + own_y - x @ log_y.T - log_x @ y.T)


def jensen_shannon(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """√(½ KL(x‖m) + ½ KL(y‖m)) with m = ½ (x + y), for all pairs: (X, Y), from 0 to √(ln 2).

    The metric of Endres & Schindelin (2003), natural logarithm. The logarithm of a sum is no
    product, so this takes X·Y·N numbers at once; float32 knows distances to some 1e-4.
    """
    both = x[:, None] + y
    own = _negentropy(x)[:, None] + _negentropy(y) + math.log(2) * both.sum(2, dtype=torch.float64)
    return (own - _negentropy(both)).mul_(0.5).clamp_(min=0).sqrt_().to(x.dtype)


def _negentropy(maps: torch.Tensor) -> torch.Tensor:
    """Σ p log p of maps (…, N), 0 log 0 being 0, added up in float64."""
    least = torch.finfo(maps.dtype).tiny
    return maps.clamp(min=least).log_().mul_(maps).sum(-1, dtype=torch.float64)


def hellinger(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """√(½ Σ (√x − √y)²) for all pairs of rows: (X, Y), from 0 to 1 (Hellinger 1909)."""
    return euclidean(x.sqrt(), y.sqrt()).mul_(0.5**0.5)


def euclidean(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """√(Σ (x − y)²) for all pairs of rows: (X, Y).

    One matrix product of the rows without their mean, whose digits float32 would cancel. Rows
    nearer than its rounding can tell, 0.001 of their distance from the mean, are at 0.
    """
    centre = y.mean(0)
    x, y = x - centre, y - centre
    lengths = x.square().sum(1)[:, None] + y.square().sum(1)
    squares = torch.addmm(lengths, x, y.T, alpha=-2)
    unknown = squares < _ROUNDING * torch.finfo(x.dtype).eps * lengths
    return squares.masked_fill_(unknown, 0).sqrt_()


def cosine(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """1 − x·y / ‖x‖‖y‖ for all pairs of rows: (X, Y), from 0 to 1 where nothing is negative."""
    return 1 - F.normalize(x, dim=1) @ F.normalize(y, dim=1).T


def _kl(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return symmetric_kl(x.clamp(min=_LEAST), y.clamp(min=_LEAST))


DISTANCES: dict[Metric, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "kl": _kl,
    "js": jensen_shannon,
    "hellinger": hellinger,
    "euclidean": euclidean,
    "cosine": cosine,
}
"""Name to distance; ``kl`` is the symmetric one of maps whose least entry is 1e-12, never NaN."""


def distances(
    x: torch.Tensor, y: torch.Tensor, metric: Metric, budget: int = BUDGET
) -> torch.Tensor:
    """Distances of all pairs of rows (X, N) and (Y, N), tile by tile: (X, Y).

    Args:
        x: maps, none below 0.
        y: maps of as many entries, on the same device.
        metric: which of `DISTANCES`.
        budget: bytes that may be held beside the answer, if one pair fits into them.
    """
    measure = DISTANCES[metric]
    side = _tile_side(x, metric, budget)
    table = x.new_empty(len(x), len(y))
    for maps, across in zip(x.split(side), table.split(side), strict=True):
        for others, tile in zip(y.split(side), across.split(side, 1), strict=True):
            tile.copy_(measure(maps, others))
    return table


def pairwise(rows: torch.Tensor, metric: Metric) -> np.ndarray:
    """Distances of all pairs of rows (M, N): (M, M), symmetric, 0 or more, the diagonal exactly 0.

    For methods that ask for a matrix of distances.
    """
    table = distances(rows, rows, metric)
    table = (table + table.T).mul_(0.5)  # rounding leaves it not quite symmetric
    return table.clamp_(min=0).fill_diagonal_(0).cpu().numpy()


def _tile_side(x: torch.Tensor, metric: Metric, budget: int) -> int:
    """The most rows t that a tile may have, of as many others, by what its distance holds."""
    numbers, width = budget / x.element_size(), x.shape[1]
    if metric == "js":  # t²·N: the sums and their logarithms
        side = math.sqrt(min(numbers / 3, _CACHED / x.element_size()) / width)
    else:  # t·N on either side, and t² of products
        side = min(numbers / (8 * width), math.sqrt(numbers / 8))
    return max(1, int(side))


def cosine_affinity(features: torch.Tensor) -> torch.Tensor:
    """The cosines of all pairs of rows (N, C), brought to [0, 1] by the least and the most."""
    unit = F.normalize(features, dim=1)
    affinity = unit @ unit.T
    least, most = affinity.min(), affinity.max()
    if most - least < _ALIKE:
        return affinity.fill_(1)
    return affinity.sub_(least).div_(most - least)


_ALIKE = 1e-6
"""Cosines that differ by less than this are all the same but for rounding."""
