"""Seg4Diff's merging, against its definition written out pair by pair."""

import math

import numpy as np
import pytest
import torch

from attnprobe import AttnProbeError
from attnprobe.fields import WordMaps
from attnprobe.group import TokenMerge


def merged(maps: np.ndarray, threshold: float) -> np.ndarray:
    """The proposals (P, H, W), in float64 and in loops."""
    probs = []
    for each in maps.astype(float):
        scaled = (each - each.min()) / (each.max() - each.min() + 1e-6)
        probs.append(np.exp(scaled) / np.exp(scaled).sum())
    left, found = set(range(len(probs))), []
    for token, own in enumerate(probs):
        if token not in left:
            continue
        group = []
        for number, other in enumerate(probs):
            divergence = sum(
                (p - q) * (math.log(p) - math.log(q)) / 2
                for p, q in zip(own.flat, other.flat, strict=True)
            )
            if divergence < threshold or number == token:
                group.append(other)
                left.discard(number)
        found.append(np.mean(group, 0))
    return np.array(found)


@pytest.mark.parametrize("threshold", [0.002, 0.02, 0.06, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_proposals_are_those_of_the_definition(seed, threshold):
    draw = np.random.default_rng(seed)
    centres = draw.random((4, 5, 6)) ** 3
    maps = centres[draw.integers(4, size=20)] + 0.1 * draw.random((20, 5, 6))
    words = tuple(map(str, range(20)))
    found = TokenMerge(threshold)(WordMaps(torch.from_numpy(maps).float(), words))
    expected = merged(maps, threshold)
    assert found.proposals.shape == expected.shape
    np.testing.assert_allclose(found.proposals, expected, rtol=1e-4)
    assert np.array_equal(found.labels, found.proposals.numpy().argmax(0))


def test_even_maps_are_one_segment():
    found = TokenMerge()(WordMaps(torch.full((3, 2, 2), 0.1), ("a", "b", "c")))
    assert (found.count, len(found.proposals)) == (1, 1)


def test_maps_without_numbers_are_refused():
    with pytest.raises(AttnProbeError, match="TokenMerge: the maps of layer have NaN"):
        TokenMerge()(WordMaps(torch.full((1, 2, 2), torch.nan), ("a",), "layer"))
