import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from attnprobe import AttentionField, AttnProbeError
from attnprobe.group import KWayNCut
from attnprobe.group.eigen import inverse_roots, leading, normalized
from attnprobe.group.partition import Partition, chained, climbed, settled
from tests.group.fields import blocks, grouped, rng, thirds, uniform

NODES = 8


def uneven(generator):
    return torch.rand(NODES, NODES, generator=generator) ** 4


def near(generator):
    places = torch.rand(NODES, 2, generator=generator)
    return torch.exp(-20 * torch.cdist(places, places).square())


def alike(generator):
    cosines = F.normalize(torch.randn(NODES, 3, generator=generator), dim=1)
    return (0.5 + 0.5 * cosines @ cosines.T) ** 10


GRAPHS = {"even": lambda generator: torch.rand(NODES, NODES, generator=generator)}
GRAPHS |= {"uneven": uneven, "near": near, "alike": alike}


def costs(affinity, labelings, count):
    """The normalised cut of labelings (B, N), by Shi & Malik's definition: Σ cut/assoc."""
    members = F.one_hot(labelings, count).double()
    volumes = affinity.double().sum(1) @ members
    beyond = members * (affinity.double() @ (1 - members))
    return (beyond.sum(1) / volumes).nan_to_num(nan=9.0).sum(1)


def cost(affinity, labels):
    _, numbers = np.unique(labels, return_inverse=True)
    return float(costs(affinity, torch.from_numpy(numbers.ravel())[None], numbers.max() + 1))


def field_of(affinity):
    """A field whose symmetric affinity is the given one but for a factor: each row is filled up."""
    rest = affinity.sum(1).max() - affinity.sum(1)
    whole = affinity + rest.diag()
    return AttentionField(whole / whole.sum(1, keepdim=True), (1, len(affinity)))


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("kind", GRAPHS)
def test_the_cheapest_of_all_labelings_is_nearly_always_found(kind, count):
    """Within 2 % of the least cost on at least 95 % of 200 graphs of 8 nodes."""
    generator = torch.Generator().manual_seed(count)
    others = itertools.product(range(count), repeat=NODES - 1)
    labelings = torch.tensor([(0, *labels) for labels in others])
    found = 0
    for _ in range(200):
        field = field_of((given := GRAPHS[kind](generator)) + given.T)
        affinity = field.symmetric()
        labels = KWayNCut(clusters=count, exponent=1.0)(field, rng=rng()).labels
        assert len(np.unique(labels)) == count
        least = float(costs(affinity, labelings, count).min())
        found += cost(affinity, labels) <= 1.02 * least
    assert found >= 190


def random_partition(seed, nodes=12, count=3):
    generator = torch.Generator().manual_seed(seed)
    affinity = torch.rand(nodes, nodes, generator=generator)
    labels = torch.cat(
        [torch.arange(count), torch.randint(count, (nodes - count,), generator=generator)]
    )
    return Partition(affinity + affinity.T, labels, count)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_the_gradient_is_that_of_the_formula(seed):
    partition = random_partition(seed)
    members = partition.members.requires_grad_()
    affinity = partition.affinity.double()
    within = (members * (affinity @ members)).sum(0)
    volumes = (members * affinity.sum(1)[:, None] * members).sum(0)
    value = (within / volumes).sum()
    value.backward()
    assert partition.value == pytest.approx(value.item(), rel=1e-6)
    torch.testing.assert_close(partition.gradient(), members.grad, rtol=1e-5, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_gains_are_what_a_move_gains(seed):
    partition = random_partition(seed)
    gains = partition.gains()
    for node, part in itertools.product(range(12), range(3)):
        labels = partition.labels.clone()
        labels[node] = part
        there = Partition(partition.affinity, labels, 3)
        if part == partition.labels[node] or not there.whole:
            assert gains[node, part] == -torch.inf
        else:
            rise = there.value - partition.value
            assert float(gains[node, part]) == pytest.approx(rise, abs=1e-6)
        assert partition.moved(labels).value == pytest.approx(there.value, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_no_step_makes_the_cut_dearer(seed):
    partition = random_partition(seed, nodes=40, count=4)
    before = cost(partition.affinity, partition.labels.numpy())
    for better in (climbed, settled, chained):
        partition = better(partition)
        after = cost(partition.affinity, partition.labels.numpy())
        assert after <= before + 1e-6
        assert len(partition.labels.unique()) == 4
        before = after
    assert float(partition.gains().max()) < 1e-6


@pytest.mark.parametrize("affinity", ["attention", "cosine"])
@pytest.mark.parametrize("grid", [(6, 9), (1, 30), (15, 18)])
def test_known_groups_are_found(affinity, grid):
    groups = thirds(*grid)
    found = KWayNCut(clusters=3, affinity=affinity)(grouped(groups, strength=3), rng=rng())
    assert adjusted_rand_score(groups.ravel(), found.labels.ravel()) == 1


@pytest.mark.parametrize("sizes", [(4, 3, 5), (1, 1), (1, 7), (120, 90, 30), (20,) * 12])
def test_unconnected_blocks_are_counted_by_their_eigenvalues(sizes):
    found = KWayNCut()(blocks(*sizes), rng=rng())
    expected = np.repeat(np.arange(len(sizes)), sizes)
    assert found.count == len(sizes)
    assert adjusted_rand_score(expected, found.labels.ravel()) == 1


def test_a_higher_kappa_cuts_more():
    field = grouped(thirds(8, 9), noise=1.0)
    counts = [KWayNCut(kappa=kappa)(field, rng=rng()).count for kappa in (0.1, 0.6, 0.8, 2.0)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_degenerate_fields():
    assert KWayNCut()(uniform(5, 4), rng=rng()).count == 1
    assert KWayNCut()(uniform(1, 1), rng=rng()).count == 1
    assert KWayNCut()(AttentionField(torch.eye(300), (15, 20)), rng=rng()).count == 300


def test_as_many_as_the_truth_has():
    groups = thirds(6, 9)
    found = KWayNCut(clusters="truth")(grouped(groups, strength=3), rng=rng(), truth=groups)
    assert adjusted_rand_score(groups.ravel(), found.labels.ravel()) == 1


@pytest.mark.parametrize("nodes", [50, 300])
def test_eigenpairs_of_a_scaled_matrix_are_those_of_the_matrix_that_was_made(nodes):
    affinity = grouped(thirds(1, nodes)).symmetric()
    values, _ = leading(affinity, 4, rng(), inverse_roots(affinity))
    expected, _ = leading(normalized(affinity)[0], 4, rng())
    assert values == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"clusters": 0}, "KWayNCut.clusters: "),
        ({"kappa": 0}, "KWayNCut.kappa: .*greater than 0"),
        ({"kappa": 2.5}, "KWayNCut.kappa: .*less than or equal to 2"),
        ({"affinity": "rows"}, "KWayNCut.affinity: .*'attention', 'cosine' or 'features'"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(AttnProbeError, match=message):
        KWayNCut(**parameters)


def test_features_are_wanted_by_name():
    with pytest.raises(AttnProbeError, match=r"KWayNCut.affinity: the field has no features"):
        KWayNCut(affinity="features")(uniform(2, 2), rng=rng())
