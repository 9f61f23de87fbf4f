"""Every distance against SciPy's in float64, and what its table takes in memory."""

import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.special import rel_entr

from attnprobe.distances import DISTANCES, Metric, distances, pairwise, symmetric_kl


def half_symmetric_kl(a, b):
    return 0.5 * (rel_entr(a, b) + rel_entr(b, a)).sum()


def hellinger(a, b):
    return np.linalg.norm(np.sqrt(a) - np.sqrt(b)) / np.sqrt(2)


ORACLES = {
    "kl": half_symmetric_kl,
    "js": "jensenshannon",
    "hellinger": hellinger,
    "euclidean": "euclidean",
    "cosine": "cosine",
}
METRICS = pytest.mark.parametrize("metric", DISTANCES)


def maps(count, width, seed, spread=2.0):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(count, width, generator=generator, dtype=torch.float64)
    return logits.softmax(1)


def test_every_name_has_a_distance_and_an_oracle():
    assert set(DISTANCES) == set(get_args(Metric)) == set(ORACLES)


@METRICS
@settings(max_examples=30, deadline=None)
@given(
    x=st.integers(1, 20), y=st.integers(1, 20), width=st.integers(1, 40), seed=st.integers(0, 999)
)
def test_in_float64_they_are_scipy_s(metric, x, y, width, seed):
    one, other = maps(x, width, seed), maps(y, width, seed + 1)
    found = DISTANCES[metric](one, other)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, cdist(one, other, ORACLES[metric]), rtol=1e-9, atol=1e-7)


@METRICS
def test_in_float32_they_are_near(metric):
    one, other = maps(30, 500, 1), maps(20, 500, 2)
    found = DISTANCES[metric](one.float(), other.float())
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, cdist(one, other, ORACLES[metric]), rtol=1e-5, atol=1e-6)


@METRICS
def test_maps_that_are_nearly_equal_are_told_apart_in_float32(metric):
    one = maps(1, 4096, 3).repeat(3, 1)
    one *= 1 + torch.tensor([[0.0], [0.02], [0.04]]) * torch.randn(3, 4096).sign()
    one /= one.sum(1, keepdim=True)
    found = DISTANCES[metric](one.float(), one.float())
    expected = cdist(one, one, ORACLES[metric])
    apart = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(found.numpy()[apart], expected[apart], rtol=2e-2)


@METRICS
def test_maps_with_zeros_have_a_distance(metric):
    rows = torch.block_diag(*[torch.full((3, 3), 1 / 3)] * 2)
    found = distances(rows, rows, metric).double().numpy()
    same = np.kron(np.eye(2), np.ones((3, 3))).astype(bool)
    np.testing.assert_allclose(found[same], 0, atol=1e-3)
    # What does not meet is as far as can be; a logarithm of zero is that of 1e-12.
    farthest = {"js": np.log(2) ** 0.5, "euclidean": (2 / 3) ** 0.5, "kl": np.log(1e12 / 3)}
    np.testing.assert_allclose(found[~same], farthest.get(metric, 1), rtol=1e-5)
    assert symmetric_kl(rows, rows).isnan().all()


@METRICS
@pytest.mark.parametrize("budget", [1, 3000, 40_000])
def test_tiles_are_the_whole(metric, budget):
    one, other = maps(23, 30, 4), maps(17, 30, 5)
    found = distances(one, other, metric, budget)
    torch.testing.assert_close(found, DISTANCES[metric](one, other), rtol=1e-10, atol=1e-7)


@METRICS
def test_a_matrix_of_pairs_is_symmetric_with_an_empty_diagonal(metric):
    rows = maps(40, 60, 6).float()
    found = pairwise(rows, metric)
    assert found.dtype == np.float32
    assert np.array_equal(found, found.T)
    assert not found.diagonal().any()
    assert found.min() >= 0
    np.testing.assert_allclose(found, cdist(rows, rows, ORACLES[metric]), rtol=1e-4, atol=1e-4)


MEASURED = """
import resource, sys, torch
from attnprobe.distances import distances
count, metric = int(sys.argv[1]), sys.argv[2]
rows = torch.empty(3000, 3000).uniform_(0.1, 1)
distances(rows[:20], rows[:20], metric)  # libraries take their own
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
distances(rows[:count], rows, metric, budget=8 << 20)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.parametrize(("metric", "count"), [("js", 20), ("kl", 1000)])
def test_memory_stays_within_the_budget(metric, count):
    """In one piece, one way of working would hold 720 MB here and the other 90 MB."""
    command = [sys.executable, "-c", MEASURED, str(count), metric]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    table, libraries = 4 * count * 3000, 6 << 20
    assert int(done.stdout) < (8 << 20) + table + libraries


@pytest.mark.parametrize("size", [7, 300, 4096])
def test_equal_maps_are_at_no_distance(size):
    """Float32's own rounding would place them 0.001 apart, and a merging method apart with it."""
    rows = maps(1, size, 7, spread=1).float().repeat(40, 1)
    rows[:20] = maps(1, size, 8).float()
    for metric in ("euclidean", "hellinger"):
        found = distances(rows, rows, metric)
        assert not found[:20, :20].any()
        assert not found[20:, 20:].any()
        assert (found[20:, :20] > 0).all()
