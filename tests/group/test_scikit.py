import warnings
from typing import get_args

import numpy as np
import pytest
import sklearn.cluster
from sklearn.metrics import adjusted_rand_score

from attnprobe import AttnProbeError
from attnprobe.distances import pairwise
from attnprobe.group import SklearnClusterer
from attnprobe.group.scikit import Estimator
from attnprobe.testing import check_grouper
from tests.group.fields import blocks, grouped, rng, thirds

CASES = [
    ("AffinityPropagation", {"damping": 0.8}, "rows"),
    ("AffinityPropagation", {"preference": -0.01}, "affinity"),
    ("AgglomerativeClustering", {"n_clusters": 2}, "rows"),
    ("AgglomerativeClustering", {"n_clusters": 2, "linkage": "average"}, "distance"),
    ("Birch", {"n_clusters": 2, "threshold": 0.01}, "rows"),
    ("BisectingKMeans", {"n_clusters": 2}, "rows"),
    ("DBSCAN", {"eps": 0.3}, "distance"),
    ("GaussianMixture", {"n_components": 2, "covariance_type": "diag"}, "rows"),
    ("HDBSCAN", {"min_cluster_size": 3}, "rows"),
    ("HDBSCAN", {"min_cluster_size": 3}, "distance"),
    ("MeanShift", {"bandwidth": 0.1}, "rows"),
    ("MiniBatchKMeans", {"n_clusters": 2}, "rows"),
    ("OPTICS", {"min_samples": 3}, "distance"),
    ("SpectralClustering", {"n_clusters": 2}, "affinity"),
]


def test_every_estimator_is_tried():
    assert {name for name, _, _ in CASES} == set(get_args(Estimator))


@pytest.mark.parametrize(("name", "params", "on"), CASES)
def test_each_keeps_the_contract(name, params, on):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, on degenerate fields
        check_grouper(SklearnClusterer(name, params, on))


def test_labels_are_the_estimator_s():
    field = grouped(thirds(6, 9), noise=1.0)
    seed = int(rng().integers(2**31))
    theirs = sklearn.cluster.BisectingKMeans(4, random_state=seed)
    found = SklearnClusterer("BisectingKMeans", {"n_clusters": 4})(field, rng=rng())
    assert np.array_equal(theirs.fit_predict(field.rows.numpy()), found.labels.ravel())
    theirs = sklearn.cluster.DBSCAN(eps=0.3, min_samples=4, metric="precomputed")
    params = {"eps": 0.3, "min_samples": 4}
    found = SklearnClusterer("DBSCAN", params, on="distance")(field, rng=rng())
    expected = theirs.fit_predict(pairwise(field.rows, "kl"))
    assert adjusted_rand_score(expected, found.labels.ravel()) == 1


def test_noise_is_the_last_segment():
    params = {"eps": 1e-3, "min_samples": 4}
    field = blocks(4, 3, 5)  # 3 are too few
    found = SklearnClusterer("DBSCAN", params, on="distance")(field, rng=rng())
    assert found.labels.tolist() == [[0] * 4 + [2] * 3 + [1] * 5]
    assert SklearnClusterer("DBSCAN", {"min_samples": 50})(field, rng=rng()).count == 1


def test_what_an_estimator_refuses_is_told():
    grouper = SklearnClusterer("BisectingKMeans", {"n_clusters": 99})
    with pytest.raises(AttnProbeError, match="BisectingKMeans refused a field of 12 tokens: n_sam"):
        grouper(blocks(4, 3, 5), rng=rng())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("KMeanz",), "SklearnClusterer.estimator: "),
        (("DBSCAN", {"epz": 1}), "unknown parameter 'epz' of DBSCAN; did you mean eps?"),
        (("DBSCAN", {"eps": -1}), "The 'eps' parameter of DBSCAN must be a float .*Got -1"),
        (("DBSCAN", {"eps": "far"}), "The 'eps' parameter of DBSCAN must be .*Got 'far'"),
        (("MeanShift", {}, "distance"), "on: distance is for Agg.*Got MeanShift instead"),
        (("DBSCAN", {"metric": "l1"}, "distance"), "unknown parameter 'metric' of DBSCAN"),
        (("Birch", {}, "affinity"), "on: affinity is for AffinityPropagation, Spectral"),
        (("MiniBatchKMeans", {"random_state": 3}), "unknown parameter 'random_state'"),
        (("DBSCAN", {"eps": [1]}), "SklearnClusterer.params: "),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(AttnProbeError, match=message):
        SklearnClusterer(*arguments)
