"""What all scores have in common: they can be split, merged and read at any time."""

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe.errors import AttnProbeError
from attnprobe.evaluate import (
    PROTOCOLS,
    ForegroundMetric,
    HungarianMetric,
    MajorityMetric,
    OverlapMetric,
    Protocol,
    RegionMetric,
)

MAKERS = {
    "per-image": lambda: HungarianMetric(5),
    "per-dataset": lambda: HungarianMetric(5, "per-dataset"),
    "majority": lambda: MajorityMetric(5),
    "best-overlap": lambda: OverlapMetric(5),
    "foreground": lambda: ForegroundMetric(5, 2),
    "regions": RegionMetric,
}


def digits(score):
    """All that a score says, to the last bit."""
    found = score.compute()
    if isinstance(score, RegionMetric):
        return np.array(astuple(found)).tobytes()
    parts = (found.acc, found.miou, found.iou, found.counts, found.valid)
    return b"".join(np.asarray(part).tobytes() for part in parts)


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), random=st.randoms())
def test_any_split_in_any_order_gives_the_same_digits(make, workers, seed, random):
    rng = np.random.default_rng(seed)
    images = [
        (rng.integers(-1, 8, shape), rng.integers(-1, 5, shape))
        for shape in rng.integers(1, 9, (12, 2)).tolist()
    ]
    whole = make()
    for image in images:
        whole.update(*image)
    random.shuffle(images)
    parts = []
    for worker in range(workers):
        parts.append(make())
        for image in images[worker::workers]:
            parts[-1].update(*image)
    random.shuffle(parts)
    total = make()
    for part in parts:
        total.merge(part)
    assert digits(total) == digits(whole)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_merging_leaves_the_other_as_it_was(make):
    one, other = make(), make()
    image = np.array([[0, 1, 1]]), np.array([[0, 0, 1]])
    other.update(*image)
    before = digits(other)
    one.merge(other)
    one.update(*image)
    assert digits(other) == before


def test_region_scores_of_different_tolerances_do_not_merge():
    with pytest.raises(AttnProbeError, match=r"same tolerance. Got 0\.0075 and 0\.01"):
        RegionMetric().merge(RegionMetric(0.01))


def test_a_background_must_be_a_class():
    with pytest.raises(AttnProbeError, match=r"from 0 to 2\. Got 3"):
        ForegroundMetric(3, 3)


@pytest.mark.parametrize("make", list(MAKERS.values())[:-1], ids=list(MAKERS)[:-1])
def test_a_label_out_of_range_leaves_the_score_as_it_was(make):
    score = make()
    with pytest.raises(AttnProbeError, match=r"from 0 to 4, or −1 for void\. Got 5"):
        score.update(np.array([[0, 1]]), np.array([[0, 5]]))
    assert score.compute().valid == 0


def test_every_protocol_has_the_score_of_its_match():
    kinds = {name: type(protocol.metric(21)) for name, protocol in PROTOCOLS.items()}
    assert kinds == {
        "whole": HungarianMetric, "released": HungarianMetric, "diffcut": HungarianMetric,
        "diffcut-voc": ForegroundMetric, "bsds": OverlapMetric,
    }  # fmt: skip
    assert Protocol("p", "per-dataset").metric(3).match == "per-dataset"
    assert type(Protocol("p", "majority").metric(3)) is MajorityMetric
    assert type(Protocol("p", "best-overlap").metric(3)) is OverlapMetric
    assert Protocol("p", "foreground", background=2).metric(3).background == 2
