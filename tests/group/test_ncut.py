import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from attnprobe import AttentionField, AttnProbeError
from attnprobe.group import NCut
from attnprobe.group.eigen import leading
from attnprobe.group.ncut import best_place
from tests.group.fields import blocks, grouped, permuted, rng, thirds, uniform

BOTH = pytest.mark.parametrize("affinity", ["attention", "cosine"])


def cost(affinity, side):
    """NCut as Shi & Malik's equation 2 has it."""
    cut = affinity[side][:, ~side].sum()
    return cut / affinity[side].sum() + cut / affinity[~side].sum()


def test_the_best_place_is_the_cheapest_of_a_hundred():
    generator = torch.Generator().manual_seed(0)
    affinity = torch.rand(30, 30, generator=generator)
    affinity = affinity + affinity.T
    along = torch.randn(30, generator=generator)
    places = np.linspace(float(along.min()), float(along.max()), 102)[1:-1]
    expected = min(cost(affinity, along > float(place)) for place in places)
    side, found = best_place(affinity, along)
    assert found == pytest.approx(float(expected), rel=1e-4)
    assert float(cost(affinity, side)) == pytest.approx(found, rel=1e-4)


@BOTH
@pytest.mark.parametrize("grid", [(6, 9), (1, 30), (15, 18)])
def test_known_groups_are_found(affinity, grid):
    groups = thirds(*grid)
    found = NCut(affinity=affinity, threshold=0.5)(grouped(groups, strength=3), rng=rng())
    assert adjusted_rand_score(groups.ravel(), found.labels.ravel()) == 1


@BOTH
@pytest.mark.parametrize("sizes", [(4, 3, 5), (1, 1), (1, 7), (120, 90, 30)])
def test_unconnected_blocks_come_apart_and_no_further(affinity, sizes):
    found = NCut(affinity=affinity)(blocks(*sizes), rng=rng())
    expected = np.repeat(np.arange(len(sizes)), sizes)
    assert found.count == len(sizes)
    assert adjusted_rand_score(expected, found.labels.ravel()) == 1


@BOTH
def test_degenerate_fields(affinity):
    grouper = NCut(affinity=affinity)
    assert grouper(uniform(5, 4), rng=rng()).count == 1
    assert grouper(uniform(1, 1), rng=rng()).count == 1
    assert grouper(AttentionField(torch.eye(300), (15, 20)), rng=rng()).count == 300


def test_what_is_unconnected_takes_one_step(monkeypatch):
    calls = []

    def counted(matrix, count, generator):
        calls.append(len(matrix))
        return leading(matrix, count, generator)

    monkeypatch.setattr("attnprobe.group.ncut.leading", counted)
    NCut()(AttentionField(torch.eye(300), (15, 20)), rng=rng())
    assert calls == [300]


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(27)))
def test_the_order_of_tokens_does_not_matter(order):
    groups, order = thirds(3, 9), np.array(order)
    found = NCut(threshold=0.5)(permuted(grouped(groups, strength=3), order), rng=rng())
    assert adjusted_rand_score(groups.ravel()[order], found.labels.ravel()) == 1


@BOTH
@pytest.mark.parametrize("other", [{"threshold": 0.9}, {"exponent": 6.0}])
def test_a_higher_threshold_or_exponent_cuts_more(affinity, other):
    field = grouped(thirds(8, 9), noise=1.0)
    few, many = (NCut(affinity=affinity, **keys)(field, rng=rng()) for keys in ({}, other))
    assert few.count < many.count


def test_every_cut_is_made_under_the_highest_threshold():
    """A chain: each token looks at itself and a little at the next."""
    rows = 0.9 * torch.eye(80) + 0.1 * torch.eye(80).roll(1, 1)
    assert NCut(threshold=2.0)(AttentionField(rows, (8, 10)), rng=rng()).count == 80


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"threshold": 0}, "NCut.threshold: .*greater than 0"),
        ({"threshold": 2.5}, "NCut.threshold: .*less than or equal to 2"),
        ({"exponent": -1}, "NCut.exponent: .*greater than 0"),
        ({"affinity": "rows"}, "NCut.affinity: .*'attention', 'cosine' or 'features'"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(AttnProbeError, match=message):
        NCut(**parameters)


def test_features_are_cut_as_their_cosines_are():
    """Tokens of three directions, with noise: a segment each."""
    random = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 16).reshape(6, 8)
    features = np.eye(3)[truth] + 0.05 * random.standard_normal((6, 8, 3))
    rows = torch.full((48, 48), 1 / 48)
    field = AttentionField(rows, (6, 8), features=torch.from_numpy(features))
    found = NCut(affinity="features", exponent=10, threshold=0.5)(field, rng=random)
    assert adjusted_rand_score(truth.ravel(), found.labels.ravel()) == 1
    with pytest.raises(AttnProbeError, match=r"NCut.affinity: the field has no features; use the"):
        NCut(affinity="features")(AttentionField(rows, (6, 8)), rng=random)
