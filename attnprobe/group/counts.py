"""How many segments there shall be: the true number, or one of several chosen by a measure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from pydantic import AfterValidator

from attnprobe.distances import pairwise
from attnprobe.errors import ComponentError
from attnprobe.group.lloyd import Space, lloyd, plus_plus
from attnprobe.lazy import torch

_SAMPLE = 512
"""Tokens on which numbers are compared."""

_REFERENCES = 10
"""Reference data sets of the gap statistic."""

_NOTHING = 1e-6
"""Share of the dispersion of all tokens that is rounding."""


def _in_order(given: tuple[int, int]) -> tuple[int, int]:
    if given[0] > given[1]:
        raise ValueError("the least must not be over the most")
    return given


Candidate = Annotated[int, Ge(2), Le(256)]

Candidates = Annotated[tuple[Candidate, Candidate], AfterValidator(_in_order)]
"""The least and the most clusters that are tried."""


def true_count(truth: np.ndarray | None, who: str) -> int:
    """The number of classes in the truth, void (below 0) apart; at least 1.

    Raises:
        ComponentError: there is no truth; `who` asked for it.
    """
    if truth is None:
        raise ComponentError(
            f"{who}: clusters is 'truth', but this image comes with no truth, or with several "
            "people's; give a number, or use images that have one, such as scenes."
        )
    labels = np.unique(truth)
    return max(1, int((labels >= 0).sum()))


def by_silhouette(space: Space, candidates: tuple[int, int], rng: np.random.Generator) -> int:
    """The candidate with the highest mean silhouette on 512 rows; 1 if none divides them.

    Rousseeuw 1987, "Silhouettes", J. Comput. Appl. Math. 20.
    """
    from sklearn.metrics import silhouette_score

    sample = _sample(space, rng)
    distances = pairwise(sample.points, space.geometry)
    best, count = -1.0, 1
    for candidate, means in _clusterings(sample, candidates, rng):
        labels = sample.scores(means).argmax(1).cpu().numpy()
        if 1 < np.unique(labels).size < len(labels):
            score = silhouette_score(distances, labels, metric="precomputed")
            if score > best:
                best, count = score, candidate
    return count


def by_gap(space: Space, candidates: tuple[int, int], rng: np.random.Generator) -> int:
    """The first candidate k with Gap(k) ≥ Gap(k + 1) − s(k + 1) on 512 rows; 1 if all are alike.

    Tibshirani, Walther & Hastie 2001, J. R. Stat. Soc. B 63, section 3: Gap(k) is by how much the
    logarithm of the dispersion within k clusters is below that of ten reference data sets, which
    are uniform in the box along the sample's principal components (their choice b); s is that
    mean's standard error.
    """
    sample = _sample(space, rng)
    whole = _dispersion(sample, sample.centre[None])
    if whole <= _NOTHING * float(sample.own.abs().sum()):
        return 1
    tried = candidates[0], candidates[1] + 1  # the last candidate's gap is compared with one more
    logs = _log_dispersions(sample, tried, rng)
    drawn = [_reference(sample, rng) for _ in range(_REFERENCES)]
    references = np.array([_log_dispersions(reference, tried, rng) for reference in drawn])
    gaps = references.mean(0) - logs
    errors = references.std(0) * math.sqrt(1 + 1 / _REFERENCES)
    enough = gaps[:-1] >= gaps[1:] - errors[1:]
    # Where every gap grows, the last candidate has the largest.
    return candidates[0] + (int(enough.argmax()) if enough.any() else len(enough) - 1)


def _sample(space: Space, rng: np.random.Generator) -> Space:
    chosen = rng.permutation(len(space.points))[:_SAMPLE]
    return Space(space.points[torch.from_numpy(chosen).to(space.points.device)], space.geometry)


def _clusterings(
    space: Space, candidates: tuple[int, int], rng: np.random.Generator
) -> Iterator[tuple[int, torch.Tensor]]:
    """Each candidate, and the means of as many clusters."""
    for candidate in range(candidates[0], candidates[1] + 1):
        yield candidate, lloyd(space, plus_plus(space, candidate, rng))


def _log_dispersions(
    space: Space, candidates: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    least = _NOTHING * _dispersion(space, space.centre[None])
    found = [_dispersion(space, means) for _, means in _clusterings(space, candidates, rng)]
    return np.log(np.maximum(found, least))


def _dispersion(space: Space, means: torch.Tensor) -> float:
    """Sum of the rows' divergences from their means."""
    return float(space.divergences(means).amin(1).sum())


def _reference(space: Space, rng: np.random.Generator) -> Space:
    """Uniform rows in the box along the principal components, where the geometry can be."""
    left, lengths, axes = torch.linalg.svd(space.points - space.centre, full_matrices=False)
    along = left * lengths
    low, high = along.aminmax(dim=0)
    drawn = torch.from_numpy(rng.random(along.shape, dtype=np.float32)).to(along)
    rows = (low + (high - low) * drawn) @ axes + space.centre
    if space.geometry == "kl":  # back among the probabilities
        rows = rows.clamp_(min=0)
        rows /= rows.sum(1, keepdim=True)
    return Space(rows, space.geometry)
