"""What scoring costs: ``pytest benchmarks/test_scoring_speed.py -n 0 --benchmark-enable -s``.

Labels of 512², 27 classes, 40 segments, a fifth void. Asked of the Hungarian score: at least 60
images a second on 2 cores; the bound is held by its best round, for other work on the machine only
slows it down.
"""

import numpy as np
import pytest

from attnprobe.evaluate import (
    ForegroundMetric,
    HungarianMetric,
    MajorityMetric,
    OverlapMetric,
    RegionMetric,
)

SCORES = {
    "per-image": lambda: HungarianMetric(27),
    "per-dataset": lambda: HungarianMetric(27, "per-dataset"),
    "majority": lambda: MajorityMetric(27),
    "best-overlap": lambda: OverlapMetric(27),
    "foreground": lambda: ForegroundMetric(27, 0),
}


def labels(stride=1):
    rng = np.random.default_rng(0)
    prediction = np.kron(rng.integers(0, 40, (64, 64), np.int32), np.ones((8, 8), np.int32))
    truth = np.kron(rng.integers(0, 27, (32, 32), np.int32), np.ones((16, 16), np.int32))
    truth[:102] = -1
    return prediction * stride, truth


@pytest.mark.parametrize("stride", [1, 20_000], ids=["compact", "large numbers"])
@pytest.mark.parametrize("make", SCORES.values(), ids=SCORES)
def test_scores(benchmark, make, stride):
    score, image = make(), labels(stride)
    benchmark(score.update, *image)
    assert score.compute().valid % (image[1] >= 0).sum() == 0
    if benchmark.enabled:
        benchmark.extra_info["images a second"] = 1 / benchmark.stats["min"]
        assert benchmark.stats["min"] < 1 / 60


def test_regions(benchmark):
    """ARI, NMI, covering and boundaries, which are not matched; no bound is asked."""
    score = RegionMetric()
    benchmark(score.update, *labels())
    assert 0 < score.compute().covering < 1
