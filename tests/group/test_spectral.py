import numpy as np
import pytest
import sklearn.cluster
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigh
from sklearn.metrics import adjusted_rand_score

from attnprobe import AttnProbeError
from attnprobe.group import Spectral
from attnprobe.group.eigen import leading, normalized
from tests.group.fields import blocks, grouped, permuted, rng, thirds, uniform


@pytest.mark.parametrize(("ours", "theirs"), [("kmeans", "kmeans"), ("qr", "cluster_qr")])
@pytest.mark.parametrize("grid", [(9, 11), (16, 18)])
def test_labels_are_scikit_learn_s(ours, theirs, grid):
    field = grouped(thirds(*grid) + 3 * (np.arange(grid[0])[:, None] > 4), noise=0.8)
    expected = sklearn.cluster.SpectralClustering(
        6, affinity="precomputed", assign_labels=theirs, random_state=0
    ).fit_predict(field.symmetric().double().numpy())
    found = Spectral(clusters=6, assign=ours)(field, rng=rng())
    assert adjusted_rand_score(expected, found.labels.ravel()) == 1


@pytest.mark.parametrize("n", [40, 300])
def test_eigenvectors_are_scipy_s(n):
    matrix = torch.rand(n, n, generator=torch.Generator().manual_seed(1))
    matrix, _ = normalized(matrix + matrix.T + 4 * torch.eye(n))
    values, vectors = leading(matrix, 4, rng())
    expected, _ = eigh(matrix.double().numpy(), subset_by_index=[n - 4, n - 1])
    np.testing.assert_allclose(values, expected[::-1], atol=1e-4)
    residual = matrix @ vectors - vectors * torch.from_numpy(values).to(vectors)
    assert residual.norm(dim=0).max() < 1e-3


def test_what_lanczos_can_not_part_is_solved_in_full(monkeypatch):
    monkeypatch.setattr("attnprobe.group.eigen._RESTARTS", 1)
    matrix, _ = normalized(torch.rand(300, 300, generator=torch.Generator().manual_seed(2)).round())
    matrix = 0.5 * (matrix + matrix.T)
    values, _ = leading(matrix, 20, rng())
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix.double())[::-1][:20], atol=1e-5)


@pytest.mark.parametrize("assign", ["kmeans", "qr"])
@pytest.mark.parametrize("sizes", [(4, 3, 5), (2, 2), (120, 90, 30, 60)])
def test_unconnected_blocks_come_apart(assign, sizes):
    field = blocks(*sizes)
    found = Spectral(clusters=len(sizes), assign=assign)(field, rng=rng())
    expected = np.repeat(np.arange(len(sizes)), sizes)
    assert adjusted_rand_score(expected, found.labels.ravel()) == 1
    again = Spectral(clusters=len(sizes), assign=assign)(field, rng=rng())
    assert np.array_equal(found.labels, again.labels)
    more = Spectral(clusters=len(sizes) + 3, assign=assign)(field, rng=rng())
    assert more.count == len(sizes)


@pytest.mark.parametrize("assign", ["kmeans", "qr"])
@pytest.mark.parametrize("side", [1, 2, 6, 18])
def test_a_uniform_field_is_one(assign, side):
    for clusters in (5, "eigengap"):
        found = Spectral(clusters=clusters, assign=assign)(uniform(side, side), rng=rng())
        assert found.count == 1


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(27)), st.sampled_from(["kmeans", "qr"]))
def test_the_order_of_tokens_does_not_matter(order, assign):
    groups, order = thirds(3, 9), np.array(order)
    field = permuted(grouped(groups), order)
    found = Spectral(clusters=3, assign=assign)(field, rng=rng())
    assert adjusted_rand_score(groups.ravel()[order], found.labels.ravel()) == 1


@pytest.mark.parametrize("clusters", [2, 3, 5])
@pytest.mark.parametrize("width", [20, 40])
def test_the_eigengap_finds_the_number(clusters, width):
    groups = np.repeat(np.arange(width)[None] * clusters // width, 6, axis=0)
    found = Spectral(clusters="eigengap")(grouped(groups), rng=rng())
    assert found.count == clusters
    assert adjusted_rand_score(groups.ravel(), found.labels.ravel()) == 1


def test_the_true_number():
    field = grouped(thirds(6, 9))
    assert Spectral(clusters="truth")(field, rng=rng(), truth=np.array([[-1, 7, 0]])).count == 2
    with pytest.raises(AttnProbeError, match="Spectral: clusters is 'truth', but"):
        Spectral(clusters="truth")(field, rng=rng())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"clusters": 0}, "Spectral.clusters: .*greater than or equal to 1"),
        ({"assign": "discretize"}, "Spectral.assign: .*'kmeans' or 'qr'"),
        ({"candidates": (1, 5)}, r"Spectral.candidates\[0\]: .*greater than or equal to 2"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(AttnProbeError, match=message):
        Spectral(**parameters)
