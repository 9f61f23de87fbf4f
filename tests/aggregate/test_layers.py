"""`mean`, `max` and `single`: plain folds over layers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe import AttentionField, AttnProbeError
from attnprobe.aggregate import Max, Mean, Single
from tests.aggregate.test_multiscale import plain, random_field

grids = st.tuples(st.integers(1, 5), st.integers(1, 5))


def brought(field: AttentionField, grid: tuple[int, int]) -> np.ndarray:
    """One field on another grid, with explicit loops."""
    return plain([AttentionField(torch.ones(1, 1), (1, 1)).resized(grid), field], [0, 1])


@given(sizes=st.lists(grids, min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
def test_mean_and_max_equal_a_loop(sizes):
    fields = [random_field(grid, seed) for seed, grid in enumerate(sizes)]
    finest = max(sizes, key=lambda grid: grid[0] * grid[1])
    each = np.stack([brought(field, finest) for field in fields])
    mean, largest = Mean()(fields), Max()(fields)
    assert mean.grid == largest.grid == finest
    np.testing.assert_allclose(mean.rows, each.mean(0), rtol=1e-4, atol=1e-7)
    strongest = each.max(0) / each.max(0).sum(1, keepdims=True)
    np.testing.assert_allclose(largest.rows, strongest, rtol=1e-4, atol=1e-7)


@given(grid=grids, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_the_order_of_tokens_does_not_matter(grid, seed):
    fields = [random_field(grid, seed + i) for i in range(3)]
    order = torch.randperm(grid[0] * grid[1], generator=torch.Generator().manual_seed(seed))
    turned = [AttentionField(f.rows[order][:, order], grid) for f in fields]
    for aggregate in (Mean(), Max()):
        expected = aggregate(fields).rows[order][:, order]
        torch.testing.assert_close(aggregate(turned).rows, expected)


@pytest.mark.parametrize("aggregate", [Mean(), Max(), Single()])
def test_layers_are_not_changed(aggregate):
    fields = [random_field((4, 6), 1), random_field((4, 6), 2), random_field((2, 3))]
    before = [field.rows.clone() for field in fields]
    aggregate(fields)
    assert all(torch.equal(f.rows, b) for f, b in zip(fields, before, strict=True))


@pytest.mark.parametrize("aggregate", [Mean(), Max(), Single()])
def test_nothing_to_aggregate(aggregate):
    with pytest.raises(AttnProbeError, match=f"{type(aggregate).__name__}: needs at least one"):
        aggregate([])


def named(*names: str) -> list[AttentionField]:
    return [AttentionField(torch.ones(1, 1), (1, 1), origin=name) for name in names]


LAYERS = named("down.0.attn1", "down.1.attn1", "up.0.attn1", "up.0.attn1.more")


@pytest.mark.parametrize(
    ("layer", "number"), [(0, 0), (-1, 3), (2, 2), ("down.1", 1), ("up.0.attn1", 2), ("more", 3)]
)
def test_a_layer_by_number_name_or_part_of_one(layer, number):
    assert Single(layer)(LAYERS) is LAYERS[number]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (4, "there are 4 layers, so a number must be from -4 to 3. Got 4 instead"),
        (-5, "Got -5 instead"),
        ("down", "'down' is in several layers' names: down.0.attn1, down.1.attn1"),
        ("dwn.0.attn1", "no layer is called 'dwn.0.attn1'; did you mean down.0.attn1"),
    ],
)
def test_a_layer_that_is_not_there(layer, message):
    with pytest.raises(AttnProbeError, match=message):
        Single(layer)(LAYERS)
