import numpy as np
import pytest
import sklearn.cluster
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist
from sklearn.metrics import adjusted_rand_score

from attnprobe import AttnProbeError
from attnprobe.distances import pairwise
from attnprobe.group import Agglomerative
from tests.group.fields import blocks, grouped, permuted, rng, thirds, uniform


def half_symmetric_kl(a, b):
    return 0.5 * ((a - b) * np.log(a / b)).sum()


@pytest.mark.parametrize(
    ("metric", "definition"),
    [("euclidean", "euclidean"), ("cosine", "cosine"), ("kl", half_symmetric_kl)],
)
def test_distances_are_scipy_s_in_float64(metric, definition):
    rows = grouped(thirds(5, 9)).rows
    found = pairwise(rows, metric)
    expected = pdist(rows.double().numpy(), definition)
    np.testing.assert_allclose(found[np.triu_indices(45, 1)], expected, rtol=2e-3, atol=1e-6)
    assert np.array_equal(found, found.T)
    assert not found.diagonal().any()


@pytest.mark.parametrize("metric", ["kl", "euclidean"])
@pytest.mark.parametrize("method", ["average", "complete", "single"])
def test_segments_are_scipy_s(metric, method):
    field = grouped(thirds(6, 8), noise=0.8)
    rows = field.rows.double().numpy()
    tree = linkage(pdist(rows, half_symmetric_kl if metric == "kl" else metric), method)
    found = Agglomerative(clusters=5, metric=metric, linkage=method)(field, rng=rng())
    expected = fcluster(tree, 5, criterion="maxclust")
    assert adjusted_rand_score(expected, found.labels.ravel()) == 1
    cut = float(tree[-4:-2, 2].mean())
    near = Agglomerative("distance", cut, metric=metric, linkage=method)(field, rng=rng())
    expected = fcluster(tree, cut, criterion="distance")
    assert adjusted_rand_score(expected, near.labels.ravel()) == 1


@pytest.mark.parametrize("method", ["ward", "average"])
def test_segments_are_scikit_learn_s(method):
    field = grouped(thirds(6, 8), noise=0.8)
    theirs = sklearn.cluster.AgglomerativeClustering(4, linkage=method)
    found = Agglomerative(clusters=4, metric="euclidean", linkage=method)(field, rng=rng())
    expected = theirs.fit_predict(field.rows.double().numpy())
    assert adjusted_rand_score(expected, found.labels.ravel()) == 1


@pytest.mark.parametrize("metric", ["kl", "euclidean"])
def test_degenerate_fields(metric):
    grouper = Agglomerative(clusters=3, metric=metric)
    expected = [0] * 4 + [1] * 3 + [2] * 5
    found = grouper(blocks(4, 3, 5), rng=rng())
    assert adjusted_rand_score(expected, found.labels.ravel()) == 1
    assert Agglomerative(clusters=9, metric=metric)(blocks(4, 3, 5), rng=rng()).count == 3
    assert grouper(uniform(4, 5), rng=rng()).count == 1
    assert grouper(uniform(1, 1), rng=rng()).count == 1


def test_the_order_of_tokens_does_not_matter():
    groups, order = thirds(3, 9), rng(1).permutation(27)
    found = Agglomerative(clusters=3)(permuted(grouped(groups), order), rng=rng())
    assert adjusted_rand_score(groups.ravel()[order], found.labels.ravel()) == 1


def test_the_true_number_and_masks_for_proposals():
    found = Agglomerative("truth")(grouped(thirds(6, 9)), rng=rng(), truth=np.array([[-1, 5, 8]]))
    assert found.count == 2
    masks = [torch.from_numpy(found.labels == k).float() for k in range(2)]
    assert torch.equal(found.proposals, torch.stack(masks))
    with pytest.raises(AttnProbeError, match="Agglomerative: clusters is 'truth', but"):
        Agglomerative("truth")(uniform(2, 2), rng=rng())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"linkage": "ward"}, "Agglomerative.linkage: ward needs the metric euclidean. Got kl"),
        ({"clusters": 0}, "Agglomerative.clusters: .*greater than or equal to 1"),
        ({"distance": 0}, "Agglomerative.distance: .*greater than 0"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(AttnProbeError, match=message):
        Agglomerative(**parameters)
