"""What groupers cost on 4096 tokens.

    pytest benchmarks/test_groupers_speed.py -n 0 --benchmark-enable -s

The field is a golden case's, aggregated from four resolutions. Beside scikit-learn the two run in
turn, so that a noisy machine troubles both alike, and the median of the pairs' ratios counts. Peak
memory is measured in processes of their own, as Linux counts it.
"""

import os
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest
import sklearn.cluster
import torch
from sklearn.metrics import adjusted_rand_score

from attnprobe import AttentionField
from attnprobe.aggregate import Multiscale
from attnprobe.group import KMeans, NCut, Spectral
from attnprobe.group.lloyd import Space, kmeans_means, plus_plus
from tests.golden.fields import RESOLUTIONS, attention, load

THREADS = 2
CLUSTERS = 6

GROUPERS = {
    "agglomerative": {},
    "diffseg": {},
    "kmeans": {},
    "kmeans, cosine": {"geometry": "cosine"},
    "kmeans, by the gap": {"clusters": "gap"},
    "kmeans, by the silhouette": {"clusters": "silhouette"},
    "kway-ncut": {},
    "ncut": {},
    "ncut, cosine": {"affinity": "cosine", "exponent": 10.0, "threshold": 0.5},
    "sklearn": {"estimator": "DBSCAN", "params": {"eps": 0.3}, "on": "distance"},
    "spectral": {},
    "spectral, by the eigengap": {"clusters": "eigengap"},
}
"""What is measured: a grouper's name, and parameters."""

MOST = 1 << 30
"""Bytes that a grouper may take beside the field."""


def golden_field():
    case = load("case0")
    sharp = float(case["sharp"])
    rows = {side: attention(case[f"feat{side}"], sharp) for side in RESOLUTIONS}
    return Multiscale()([AttentionField(rows[side], (side, side)) for side in RESOLUTIONS])


@pytest.fixture(scope="module")
def field():
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield golden_field()
    torch.set_num_threads(threads)


def in_turn(benchmark, ours, theirs, pairs):
    """Both answers, and the median of how many times as long theirs took."""
    answers, seconds = {}, []

    def timed(call):
        start = time.perf_counter()
        answers[call] = call()
        return time.perf_counter() - start

    benchmark.pedantic(
        lambda: seconds.append((timed(ours), timed(theirs))), rounds=pairs, warmup_rounds=1
    )
    seconds = seconds[1:]
    ratio = statistics.median(slow / fast for fast, slow in seconds)
    own, other = (statistics.median(column) for column in zip(*seconds, strict=True))
    benchmark.extra_info.update(ours=own, theirs=other, ratio=ratio)
    print(f"\nours {own:.3f} s, scikit-learn {other:.3f} s, median ratio {ratio:.2f}")
    return answers[ours], answers[theirs], ratio


def test_kmeans_is_twice_as_fast_as_scikit_learn(field, benchmark):
    """From the same start, to the same labels, in as many iterations by the same rule."""
    rows = field.rows
    start = plus_plus(Space(rows), CLUSTERS, np.random.default_rng(0))
    given, x = start.numpy(), rows.numpy()
    means, other, ratio = in_turn(
        benchmark,
        lambda: kmeans_means(rows, start),
        lambda: sklearn.cluster.KMeans(CLUSTERS, init=given, n_init=1).fit(x),
        pairs=15,
    )
    assert np.array_equal(Space(rows).scores(means).argmax(1).numpy(), other.labels_)
    assert ratio >= 2


def test_spectral_is_five_times_as_fast_as_scikit_learn(field, benchmark):
    affinity = field.symmetric().double().numpy()
    theirs = sklearn.cluster.SpectralClustering(
        CLUSTERS, affinity="precomputed", n_init=10, random_state=0
    )
    found, expected, ratio = in_turn(
        benchmark,
        lambda: Spectral(CLUSTERS)(field, rng=np.random.default_rng(0)),
        lambda: theirs.fit_predict(affinity),
        pairs=3,
    )
    assert adjusted_rand_score(expected, found.labels.ravel()) > 0.99
    assert ratio >= 5


@pytest.mark.parametrize("name", ["attention", "cosine"])
def test_recursive_cuts_take_less_than_six_seconds(field, benchmark, name):
    keys = GROUPERS["ncut" if name == "attention" else "ncut, cosine"]
    found = benchmark.pedantic(
        lambda: NCut(**keys)(field, rng=np.random.default_rng(0)), rounds=5, warmup_rounds=1
    )
    print(f"\n{found.count} segments in {benchmark.stats['median']:.2f} s")
    assert found.count > 1
    assert benchmark.stats["median"] < 6


@pytest.mark.parametrize("clusters", ["silhouette", "gap"])
def test_choosing_the_number_of_clusters(field, benchmark, clusters):
    grouper = KMeans(clusters=clusters)
    found = benchmark.pedantic(
        lambda: grouper(field, rng=np.random.default_rng(0)), rounds=3, warmup_rounds=1
    )
    assert 2 <= found.count <= 12


MEASURED = """
import re, sys
from pathlib import Path
import numpy as np
import torch
from attnprobe import AttentionField
from attnprobe.registry import find
from benchmarks.test_groupers_speed import GROUPERS, THREADS, golden_field

def status(key):
    return 1024 * int(re.search(key + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(THREADS)
name = sys.argv[1]
grouper = find("groupers", name.partition(",")[0])(**GROUPERS[name])
field = golden_field()
small = AttentionField(torch.eye(64).roll(1, 1), (8, 8))
grouper(small, rng=np.random.default_rng(0))  # libraries take their own
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = status("VmRSS")
grouper(field, rng=np.random.default_rng(0))
print(status("VmHWM") - before)
"""


@pytest.mark.parametrize("name", GROUPERS)
def test_no_grouper_takes_a_gigabyte_beside_the_field(name):
    command = [sys.executable, "-c", MEASURED, name]
    # All but small blocks go back to the system when they are freed, so that the peak is seen.
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    peak = int(done.stdout)
    print(f"\n{name}: {peak / 2**20:.0f} MiB beside the field")
    assert peak < MOST
