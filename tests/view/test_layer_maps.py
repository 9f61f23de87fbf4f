import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attnprobe as ap
from attnprobe.errors import AttnProbeError, CaptureError
from attnprobe.fields import AttentionField
from attnprobe.hooks import Entropy
from attnprobe.resample import pool, pooled_grid
from attnprobe.view.layer_maps import Maps, maps_of
from tests.hooks.small import run, run_flux, small_flux

sides = st.integers(1, 6)
SELF = ap.Layers(kind="self")


def random_rows(n, *before, seed=0):
    rows = torch.rand(*before, n, n, generator=torch.Generator().manual_seed(seed))
    return rows / rows.sum(-1, keepdim=True)


def split_and_summed(values, axis, cells):
    """Each of an axis's tokens split into as many equal parts as there are cells; parts summed."""
    tokens = values.shape[axis]
    parts = np.repeat(values / cells, cells, axis)
    shape = (*values.shape[:axis], cells, tokens, *values.shape[axis + 1 :])
    return parts.reshape(shape).sum(axis + 1)


@given(grid=st.tuples(sides, sides), to=st.tuples(sides, sides))
def test_pooling_is_by_area(grid, to):
    to = (min(to[0], grid[0]), min(to[1], grid[1]))
    rows = random_rows(grid[0] * grid[1]).double()
    expected = rows.numpy().reshape(*grid, *grid)
    for axis in range(4):
        expected = split_and_summed(expected, axis, to[axis % 2])
    expected = expected.reshape(to[0] * to[1], -1) * (to[0] * to[1]) / (grid[0] * grid[1])
    pooled = pool(rows, grid, to).numpy()
    np.testing.assert_allclose(pooled, expected, atol=1e-6)
    np.testing.assert_allclose(pooled.sum(1), 1, atol=1e-5)


@given(grid=st.tuples(st.integers(1, 200), st.integers(1, 200)), side=st.integers(1, 64))
def test_the_pooled_grid_is_no_finer_and_keeps_the_bound(grid, side):
    height, width = pooled_grid(grid, side)
    assert 1 <= height <= grid[0]
    assert 1 <= width <= grid[1]
    assert height * width <= side * side
    if grid[0] * grid[1] <= side * side:
        assert (height, width) == grid
    elif min(height, width) >= 8:  # below, a whole number of cells is too coarse for an aspect
        assert (height * width) > 0.8 * side * side
        assert height / width == pytest.approx(grid[0] / grid[1], rel=0.15)


def test_maps_of_several_heads_and_steps_are_pooled_one_by_one():
    maps = Maps("layer", (4, 6), random_rows(24, 2, 3), ("a", "b", "c"), heads=(1, 5))
    pooled = maps.pooled((2, 3))
    assert (pooled.name, pooled.grid, pooled.steps) == ("layer", (2, 3), ("a", "b", "c"))
    assert pooled.heads == (1, 5)
    assert torch.equal(pooled.rows[1, 2], pool(maps.rows[1, 2], (4, 6), (2, 3)))
    assert maps.pooled((4, 6)) is maps


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (torch.rand(1, 2, 6, 6), "here (1, 1, 6, 6). Got (1, 2, 6, 6) instead"),
        (torch.rand(6, 6), "Got (6, 6) instead"),
        (torch.rand(0, 1, 6, 6), "Got (0, 1, 6, 6) instead"),
        (torch.full((1, 1, 6, 6), -1.0), "0 or more"),
        (torch.full((1, 1, 6, 6), torch.nan), "finite"),
    ],
)
def test_bad_rows(rows, sentence):
    with pytest.raises(AttnProbeError, match=re.escape(sentence)):
        Maps("layer", (2, 3), rows)


def test_a_field_is_one_head_and_one_step():
    field = AttentionField(random_rows(6), (2, 3), origin="mid")
    maps = Maps.of_field(field)
    assert (maps.name, maps.grid, maps.steps, maps.heads) == ("mid", (2, 3), ("all steps",), (0,))
    assert torch.equal(maps.rows[0, 0], field.rows)


def test_heads_and_steps_of_a_capture_stay_apart(unet):
    with ap.capture(unet, SELF, ap.PerHead(), over_steps="each") as captured:
        run(unet, batch=2)
        captured.new_step()
        run(unet, batch=2)
    layers = maps_of(captured.records, item=1)
    assert [maps.name for maps in layers] == list(captured.records)
    for maps in layers:
        assert maps.steps == ("step 0", "step 1")
        for number, step in enumerate((0, 1)):
            kept = captured.at(maps.name, 1, step)
            torch.testing.assert_close(maps.rows[:, number], kept, rtol=1e-6, atol=0)
    fields = captured.fields(1, step=1)
    assert [maps.grid for maps in layers] == [field.grid for field in fields]


def test_chosen_heads_keep_their_numbers(unet):
    with ap.capture(unet, SELF, ap.PerHead((1,))) as captured:
        run(unet)
    assert {maps.heads for maps in maps_of(captured.records)} == {(1,)}


def test_averaged_heads_are_the_fields(unet):
    with ap.capture(unet, SELF) as captured:
        run(unet)
    for maps, field in zip(maps_of(captured.records), captured.fields(), strict=True):
        assert torch.equal(maps.rows, field.rows[None, None])


def test_of_joint_attention_the_image_s_part_is_taken():
    flux = small_flux()
    with ap.capture(flux, keep=ap.PerHead()) as captured:
        run_flux(flux)
    for maps, field in zip(maps_of(captured.records, 1), captured.fields(1), strict=True):
        assert maps.grid == field.grid == (3, 4)
        assert len(maps.rows) == 2
        torch.testing.assert_close(maps.rows.sum(-1), torch.ones(2, 1, 12))
        whole = captured.at(maps.name, 1)[:, 5:, 5:]  # five of text come first
        torch.testing.assert_close(maps.rows[:, 0], whole / whole.sum(-1, keepdim=True))


def test_captures_without_maps(unet):
    with ap.capture(unet, SELF, Entropy()) as entropies:
        run(unet)
    with pytest.raises(CaptureError, match="keeps no whole maps"):
        maps_of(entropies.records)
    with ap.capture(unet, ap.Layers(kind="cross")) as words:
        run(unet)
    with pytest.raises(CaptureError, match="no self- or joint-attention"):
        maps_of(words.records)
