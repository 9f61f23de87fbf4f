import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe import AttentionField, AttnProbeError
from attnprobe.aggregate import Flow, Multiscale
from tests.aggregate.test_layers import brought, grids
from tests.aggregate.test_multiscale import random_field


@given(sizes=st.lists(grids, min_size=1, max_size=4), residual=st.sampled_from([0, 0.3, 0.5]))
@settings(deadline=None, max_examples=40)
def test_rollout_is_the_product_of_layers_last_first(sizes, residual):
    fields = [random_field(grid, seed) for seed, grid in enumerate(sizes)]
    finest = max(sizes, key=lambda grid: grid[0] * grid[1])
    expected = np.eye(finest[0] * finest[1])
    for field in fields:
        step = residual * np.eye(len(expected)) + (1 - residual) * brought(field, finest)
        expected = step @ expected
    flow = Flow(residual=residual)(fields)
    assert flow.grid == finest
    np.testing.assert_allclose(flow.rows, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("power", [1, 2, 7])
@pytest.mark.parametrize("residual", [0, 0.5])
def test_powers_of_the_weighted_sum(power, residual):
    fields = [random_field((4, 6), 1), random_field((2, 3), 2)]
    step = Multiscale()(fields).rows.double().numpy() * (1 - residual) + residual * np.eye(24)
    flow = Flow("multiscale", residual=residual, power=power)(fields)
    expected = np.linalg.matrix_power(step, power)
    np.testing.assert_allclose(flow.rows, expected, rtol=1e-4, atol=1e-7)


def test_flow_stays_within_blocks_and_evens_out_there():
    generator = torch.Generator().manual_seed(0)
    within = [torch.rand(n, n, generator=generator) for n in (10, 6)]
    rows = torch.block_diag(*[(w + w.T) / (w + w.T).sum() * len(w) for w in within])
    field = AttentionField(rows / rows.sum(1, keepdim=True), (4, 4))
    flow = Flow("multiscale", residual=0, power=64)([field]).rows
    assert not flow[:10, 10:].any()
    assert not flow[10:, :10].any()
    for block in (slice(0, 10), slice(10, 16)):
        torch.testing.assert_close(flow[block], flow[block][:1].expand(len(flow[block]), -1))


def test_one_token():
    field = Flow(power=3)([AttentionField(torch.ones(1, 1), (1, 1))])
    assert field.rows.item() == 1


@pytest.mark.parametrize("parameters", [{"residual": 1}, {"residual": -0.1}, {"power": 0}])
def test_bad_parameters(parameters):
    with pytest.raises(AttnProbeError, match=rf"Flow\.{next(iter(parameters))}: "):
        Flow(**parameters)


def test_nothing_to_aggregate():
    with pytest.raises(AttnProbeError, match="Flow: needs at least one"):
        Flow()([])
