"""K-Means on the rows of a field: geometries, k-means++ and Lloyd's algorithm, on any device."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Literal

import numpy as np

from attnprobe.lazy import F, torch

Geometry = Literal["euclidean", "cosine", "kl"]

ITERATIONS = 300
"""Most steps of Lloyd's algorithm, as in scikit-learn."""

TOLERANCE = 1e-4
"""Squared shift of the means, relative to the variance of the rows, that ends it; likewise."""

_LEAST = 1e-12
"""Probabilities below this count as this in logarithms."""

_MANY = 4
"""If more than one row in so many is wanted, all are read: picking rows out copies them."""

_UNSURE = 1e-5
"""Scores that differ by less than this share of their terms may differ by rounding alone."""


class Space:
    """Rows (M, N) under a geometry whose nearest mean is the highest of scores affine in the row.

    Half the squared Euclidean distance, 1 − cosine, and KL(row‖mean) are all of the form
    own(row) − score(row, mean), and for all three the best mean of a cluster is the arithmetic one
    (Banerjee et al. 2005, JMLR 6, proposition 1; Dhillon & Modha 2001 for the cosine). So one
    matrix product assigns all rows; and scores interpolated between two tokens are the scores of
    the interpolated row, which makes them maps to enlarge.
    """

    def __init__(self, rows: torch.Tensor, geometry: Geometry = "euclidean") -> None:
        self.geometry = geometry
        self.points = F.normalize(rows, dim=1) if geometry == "cosine" else rows
        self.centre = self.points.mean(0)

    @cached_property
    def own(self) -> torch.Tensor:
        """(M,) the part of each row's divergence that is the same for every mean."""
        if self.geometry == "cosine":
            return self.points.new_ones(len(self.points))
        if self.geometry == "kl":
            return torch.special.xlogy(self.points, self.points.clamp(min=_LEAST)).sum(1)
        chunks = self.points.split(512)
        return torch.cat([0.5 * (chunk - self.centre).square().sum(1) for chunk in chunks])

    @cached_property
    def lengths(self) -> torch.Tensor:
        """(M,) Euclidean lengths of the rows."""
        return torch.linalg.vector_norm(self.points, dim=1)

    @property
    def variance(self) -> float:
        """The mean of the columns' variances."""
        count, width = self.points.shape
        squares = float(self.lengths.double().square().sum()) / count
        return max(0.0, squares - float(self.centre.square().sum())) / width

    def planes(self, means: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Slopes (K, N) and offsets (K,) of the scores: slope·row + offset."""
        if self.geometry == "cosine":
            return F.normalize(means, dim=1), means.new_zeros(len(means))
        if self.geometry == "kl":
            return means.clamp(min=_LEAST).log(), means.new_zeros(len(means))
        away = means - self.centre  # differences keep what float32 would cancel
        return away, -0.5 * ((means + self.centre) * away).sum(1)

    def scores(self, means: torch.Tensor) -> torch.Tensor:
        """(M, K) nearness of each row to each mean; a row belongs to the first highest."""
        slopes, offsets = self.planes(means)
        return (slopes @ self.points.T).T + offsets

    def divergences(self, means: torch.Tensor) -> torch.Tensor:
        """(M, K) half squared distance, 1 − cosine or KL(row‖mean)."""
        return (self.own[:, None] - self.scores(means)).clamp_(min=0)


class Nearest:
    """The nearest mean of each row from step to step; only rows in doubt are looked at again.

    A row keeps its mean while that one's score leads by more than both its own and any other may
    have changed, |Δscore| ≤ |Δslope|·|row| + |Δoffset|. It is Hamerly's bound (2010, "Making
    k-means even faster") for scores instead of distances, so it holds in every geometry.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._planes: tuple[torch.Tensor, torch.Tensor] | None = None
        self._labels = space.points.new_zeros(len(space.points), dtype=torch.int64)
        self._lead = space.points.new_zeros(len(space.points))

    def __call__(self, means: torch.Tensor) -> torch.Tensor:
        """(M,) the number of the first highest score."""
        slopes, offsets = self._space.planes(means)
        doubtful = slice(None) if self._planes is None else self._doubtful(slopes, offsets)
        scores = (slopes @ self._space.points[doubtful].T).T + offsets
        best = scores.topk(min(2, len(means)), 1).values
        self._lead[doubtful] = best[:, 0] - best[:, -1]
        self._labels = self._labels.clone()
        self._labels[doubtful] = scores.argmax(1)
        self._planes = slopes, offsets
        return self._labels

    def _doubtful(self, slopes: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor | slice:
        assert self._planes is not None
        lengths = self._space.lengths
        turned, lifted = (slopes - self._planes[0]).norm(dim=1), (offsets - self._planes[1]).abs()
        changed = lengths[:, None] * turned + lifted
        self._lead -= changed.topk(min(2, len(slopes)), 1).values.sum(1)
        unsure = _UNSURE * (lengths * slopes.norm(dim=1).max() + offsets.abs().max())
        doubtful = (self._lead <= unsure).nonzero()[:, 0]
        return slice(None) if _MANY * len(doubtful) > len(lengths) else doubtful


class Means:
    """The means of clusters from step to step; only rows that move are read, and change them.

    Args:
        space: the rows.
        count: of the clusters.
    """

    def __init__(self, space: Space, count: int) -> None:
        self._space = space
        self._sums = space.points.new_zeros(count, space.points.shape[1])
        self._labels = space.points.new_full((len(space.points),), -1, dtype=torch.int64)

    def __call__(self, labels: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        """Mean of each cluster's rows; an empty cluster takes the row farthest from its own mean.

        `start` are the means that the labels came from; scikit-learn has the same rule.
        """
        count = len(start)
        sizes = torch.bincount(labels, minlength=count)
        empty = (sizes == 0).nonzero()[:, 0]
        if len(empty):
            far = self._space.divergences(start).gather(1, labels[:, None])[:, 0]
            labels = labels.clone()
            labels[far.topk(len(empty)).indices] = empty
            sizes = torch.bincount(labels, minlength=count)
        self._move(labels)
        return torch.where(sizes[:, None] > 0, self._sums / sizes[:, None], start)

    def _move(self, labels: torch.Tensor) -> None:
        points, count = self._space.points, len(self._sums)
        moved = (labels != self._labels).nonzero()[:, 0]
        if _MANY * len(moved) > len(labels):
            self._sums = F.one_hot(labels, count).to(points).T @ points
        else:
            change = F.one_hot(labels[moved], count) - F.one_hot(self._labels[moved], count)
            self._sums.addmm_(change.to(points).T, points[moved])
        self._labels = labels


def plus_plus(space: Space, clusters: int, rng: np.random.Generator) -> torch.Tensor:
    """Rows to start from by greedy k-means++ (Arthur & Vassilvitskii 2007, section 2.2).

    Each next start is the best of 2 + ⌊ln K⌋ rows drawn by their divergence from those before. Rows
    that equal a start are never drawn again, so it ends early, with fewer than `clusters` rows,
    when every distinct row is one of them. Where all that are left diverge by less than rounding
    shows, each is as likely.
    """
    points = space.points
    starts = points[[int(rng.integers(len(points)))]]
    nearest = space.divergences(starts)[:, 0]
    left = _differ(points, starts[0])
    while len(starts) < clusters and left.any():
        weights = nearest * left
        cumulative = (weights if weights.any() else left).double().cpu().numpy().cumsum()
        draws = rng.random(2 + int(math.log(clusters))) * cumulative[-1]
        last = np.searchsorted(cumulative, cumulative[-1])
        drawn = np.searchsorted(cumulative, draws, side="right").clip(max=last)
        candidates = points[torch.from_numpy(drawn).to(points.device)]
        reached = torch.minimum(nearest[:, None], space.divergences(candidates))
        best = int(reached.sum(0).argmin())
        starts = torch.cat([starts, candidates[best : best + 1]])
        nearest = reached[:, best]
        left &= _differ(points, candidates[best])
    return starts


def _differ(points: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """(M,) whether each of the points is another than the row."""
    return (points != row).any(1)


def lloyd(space: Space, start: torch.Tensor) -> torch.Tensor:
    """Means (K, N) of the clusters by Lloyd's algorithm, with scikit-learn's stopping rule."""
    limit = TOLERANCE * space.variance
    means, labels = start, None
    nearest, means_of = Nearest(space), Means(space, len(start))
    for _ in range(ITERATIONS):
        before, labels = labels, nearest(means)
        old, means = means, means_of(labels, means)
        settled = before is not None and torch.equal(before, labels)
        if settled or (means - old).square().sum() <= limit:
            break
    return means


def best_means(space: Space, clusters: int, rng: np.random.Generator, starts: int) -> torch.Tensor:
    """Means of the best of several k-means++ starts: that with the least sum of divergences."""
    runs = [lloyd(space, plus_plus(space, clusters, rng)) for _ in range(starts)]
    return min(runs, key=lambda means: float(space.divergences(means).amin(1).sum()))


def kmeans_means(rows: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Euclidean cluster means (K, N) of the rows (M, N) from the `start` (K, N), once."""
    return lloyd(Space(rows), start)
