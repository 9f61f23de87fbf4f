import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe import AttentionField, AttnProbeError
from attnprobe.aggregate import Markov, Multiscale
from tests.aggregate.test_layers import grids
from tests.aggregate.test_multiscale import random_field

stops = st.sampled_from([0.01, 0.15, 0.9])


@given(grid=grids, stop=stops)
@settings(deadline=None, max_examples=40)
def test_absorbing_rows_are_where_walks_end(grid, stop):
    """The series of walks that end after no step, after one, after two …"""
    field = random_field(grid)
    chain = field.rows.double().numpy()
    chain /= chain.sum(1, keepdims=True)
    step, expected = np.eye(len(chain)) * stop, np.zeros_like(chain)
    while step.max() > 1e-12:
        expected += step
        step = (1 - stop) * step @ chain
    ends = Markov(stop=stop)([field])
    np.testing.assert_allclose(ends.rows, expected, rtol=1e-4, atol=1e-7)


@given(grid=grids, stop=stops)
@settings(deadline=None, max_examples=40)
def test_the_stationary_flow_is_symmetric(grid, stop):
    field = random_field(grid)
    chain = field.rows.double().numpy()
    n = len(chain)
    chain = (1 - stop) * chain / chain.sum(1, keepdims=True) + stop / n
    values, vectors = np.linalg.eig(chain.T)
    weights = vectors[:, values.real.argmax()].real
    weights /= weights.sum()
    flow = Markov("stationary", stop=stop)([field]).rows.double().numpy()
    between = weights[:, None] * flow
    np.testing.assert_allclose(between, between.T, rtol=1e-4)
    forth = weights[:, None] * chain
    np.testing.assert_allclose(between, (forth + forth.T) / 2, rtol=1e-4)
    np.testing.assert_allclose(flow.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("weights", ["stationary", "absorbing"])
def test_apart_from_restarts_walks_stay_within_blocks(weights):
    generator = torch.Generator().manual_seed(0)
    blocks = [torch.rand(n, n, generator=generator).softmax(1) for n in (9, 1, 6)]
    field = AttentionField(torch.block_diag(*blocks), (4, 4))
    rows = Markov(weights, stop=0.001)([field]).rows
    inside = torch.block_diag(*[torch.ones_like(block) for block in blocks]) > 0
    assert rows[~inside].max() < 1e-3
    torch.testing.assert_close(rows.sum(1), torch.ones(16))


@pytest.mark.parametrize("weights", ["stationary", "absorbing"])
def test_a_chain_that_leaves_some_tokens_for_good(weights):
    """The first token is left at once and never seen again."""
    rows = torch.zeros(6, 6)
    rows[:, 1:] = 1 / 5
    refined = Markov(weights)([AttentionField(rows, (2, 3))]).rows
    assert refined.isfinite().all()
    assert refined.min() >= 0


@pytest.mark.parametrize("weights", ["stationary", "absorbing"])
def test_a_uniform_field_prefers_nothing_elsewhere(weights):
    field = AttentionField(torch.full((12, 12), 1 / 12), (3, 4))
    rows = Markov(weights)([field]).rows
    apart = rows[~torch.eye(12, dtype=torch.bool)]
    torch.testing.assert_close(apart, apart[:1].expand_as(apart))


@pytest.mark.parametrize("weights", ["stationary", "absorbing"])
def test_layers_are_summed_first_and_not_changed(weights):
    fields = [random_field((4, 6), 1), random_field((2, 3), 2)]
    before = [field.rows.clone() for field in fields]
    markov = Markov(weights)
    torch.testing.assert_close(markov(fields).rows, markov([Multiscale()(fields)]).rows)
    assert all(torch.equal(f.rows, b) for f, b in zip(fields, before, strict=True))


@pytest.mark.parametrize("stop", [0, 1])
def test_bad_stop(stop):
    with pytest.raises(AttnProbeError, match=r"Markov\.stop: "):
        Markov(stop=stop)
