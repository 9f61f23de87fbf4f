"""Which word each segment is called by, from the words' maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from attnprobe.aggregate.words import divided, from_zero_to_one
from attnprobe.fields import Segmentation, WordMaps
from attnprobe.lazy import torch
from attnprobe.resample import upsampled_bands

Normalise = Literal["length", "shares"]
Rule = Literal["mean", "majority"]
Least = Annotated[float, Ge(0), Le(1000)]

_BAND_ELEMENTS = 1 << 23


def name_segments(
    segmentation: Segmentation,
    maps: WordMaps,
    normalise: Normalise = "length",
    rule: Rule = "mean",
    least: float = 1.0,
) -> Segmentation:
    """Name each segment by the word that is looked at most from it, and join equal names.

    A segment of which no word stands out keeps its number and has no name; see `least`.

    Args:
        segmentation: the segments.
        maps: of the words.
        normalise: what makes words comparable. ``length``: each map is divided by its length as a
            vector (the released program of Tian et al. 2024); ``shares``: each place is divided by
            its sum over the words, then each map is brought from 0 to 1 (GoCA, 2025).
        rule: ``mean``: the word of the largest mean over the segment (Tian et al. 2024, section
            3.4); ``majority``: the word that is largest at most of its pixels.
        least: how many times its mean over the whole picture the word's mean over the segment must
            be at least; one that isn't looked at from a segment at all is never its name.

    Returns:
        Labels of the same size, without proposals; a name's number is the lowest of its segments'.
    """
    present, areas, sums, votes = _totals(normalised(maps.maps, normalise), segmentation.labels)
    means = sums / areas
    winners = (means if rule == "mean" else votes).argmax(0)
    within, whole = means[winners, np.arange(len(present))], sums.sum(1) / areas.sum()
    stands_out = (within > 0) & (within >= least * whole[winners])
    found = [maps.words[w] if out else None for w, out in zip(winners, stands_out, strict=True)]
    return renamed(segmentation, present, found)


def renamed(
    segmentation: Segmentation, numbers: np.ndarray, names: Sequence[str | None]
) -> Segmentation:
    """The segments under their names, those of one name as one; without proposals.

    Args:
        segmentation: the segments.
        numbers: those that occur, in order.
        names: of each, or None.
    """
    first: dict[str, int] = {}
    kept = []
    for number, name in zip(numbers.tolist(), names, strict=True):
        kept.append(number if name is None else first.setdefault(name, number))
    labels = np.asarray(kept, np.int32)[np.searchsorted(numbers, segmentation.labels)]
    return Segmentation(labels, names={number: name for name, number in first.items()})


def normalised(maps: torch.Tensor, how: Normalise) -> torch.Tensor:
    """Maps (K, H, W) of words made comparable; see `name_segments`."""
    if how == "length":
        return divided(maps, maps.flatten(1).norm(dim=1))
    whole = maps.sum(0)
    return from_zero_to_one(maps / torch.where(whole > 0, whole, 1))


def _totals(
    maps: torch.Tensor, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of maps enlarged to the labels' size: the numbers that occur, each one's area, and by word
    and number the sum over it, and at how many of its pixels the word is the largest."""
    present, places = np.unique(labels, return_inverse=True)
    places, words, count = places.reshape(labels.shape), len(maps), len(present)
    areas, sums, votes = np.zeros(count), np.zeros((words, count)), np.zeros((words, count))
    for rows, band in upsampled_bands(maps, labels.shape, _BAND_ELEMENTS):
        here, values = places[rows].ravel(), band.flatten(1).double().cpu().numpy()
        areas += np.bincount(here, minlength=count)
        sums += [np.bincount(here, each, count) for each in values]
        largest = values.argmax(0) * count + here
        votes += np.bincount(largest, minlength=words * count).reshape(words, count)
    return present, areas, sums, votes
