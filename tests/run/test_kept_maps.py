from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attnprobe.aggregate import Multiscale
from attnprobe.errors import AttnProbeError, RunError
from attnprobe.fields import AttentionField
from attnprobe.group import DiffSeg
from attnprobe.resample import pool, pooled_grid
from attnprobe.run.kept_maps import load_maps, save_maps
from tests.golden.fields import RESOLUTIONS, attention, load
from tests.run.conftest import contents


def a_field(grid, seed=0, sharpness=3.0):
    n = grid[0] * grid[1]
    logits = torch.randn(n, n, generator=torch.Generator().manual_seed(seed)) * sharpness
    return AttentionField(logits.softmax(1), grid)


def a_picture(width=40, height=30, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("grid", [(6, 7), (32, 32), (20, 50), (40, 40), (1, 1)])
@pytest.mark.parametrize("sharpness", [0.1, 3.0])
def test_what_is_kept_is_the_pooled_field_to_a_hundredth(tmp_path, grid, sharpness):
    field = a_field(grid, sharpness=sharpness)
    save_maps(tmp_path / "maps" / "a.npz", a_picture(), field)
    kept = load_maps(tmp_path / "maps" / "a.npz")
    assert kept.grid == grid
    assert kept.field.grid == pooled_grid(grid, 32)
    assert kept.field.grid[0] * kept.field.grid[1] <= 32**2
    pooled = pool(field.rows, grid, kept.field.grid)
    error = (kept.field.rows - pooled).abs() / pooled.max(1, keepdim=True).values
    assert error.max() <= 1 / 100
    assert kept.field.rows.min() > 0
    assert kept.field.rows.sum(1).sub(1).abs().max() < 1e-5


@pytest.mark.parametrize(("size", "kept"), [((40, 30), (40, 30)), ((2048, 512), (512, 128))])
def test_the_picture_is_kept_small(tmp_path, size, kept):
    picture = Image.new("RGB", size, (200, 30, 60))
    save_maps(tmp_path / "a.npz", picture, a_field((3, 4)))
    found = load_maps(tmp_path / "a.npz").picture
    assert (found.size, found.mode) == (kept, "RGB")
    assert np.abs(np.asarray(found, int) - (200, 30, 60)).max() <= 3
    assert picture.size == size


@pytest.mark.parametrize("case", [0, 4])
def test_diffseg_finds_the_same_on_what_is_kept(tmp_path, case):
    golden = load(f"case{case}")
    layers = [
        AttentionField(attention(golden[f"feat{side}"], golden["sharp"]), (side, side))
        for side in RESOLUTIONS
    ]
    field = Multiscale()(layers)
    pooled = AttentionField(pool(field.rows, field.grid, (32, 32)), (32, 32))
    save_maps(tmp_path / "a.npz", a_picture(), field)
    kept = load_maps(tmp_path / "a.npz").field
    diffseg = DiffSeg(thresholds=tuple(golden["tau"].tolist()))
    expected = diffseg(pooled).labels
    assert len(np.unique(expected)) > 1
    assert (diffseg(kept).labels == expected).mean() >= 0.99


def test_equal_maps_are_equal_files(tmp_path):
    for name in "ab":
        save_maps(tmp_path / name / "x.npz", a_picture(), a_field((33, 35)))
    assert (tmp_path / "a/x.npz").read_bytes() == (tmp_path / "b/x.npz").read_bytes()


def test_a_file_that_is_not_there_or_cant_be_written_is_a_sentence(tmp_path):
    with pytest.raises(RunError, match=r"a\.npz: no maps were kept of this image"):
        load_maps(tmp_path / "a.npz")
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "a.npz", tmp_path / "none" / "deep" / "a.npz"):
        with pytest.raises(AttnProbeError, match="can't be written"):
            save_maps(path, a_picture(), a_field((2, 2)))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "a.npz"
    save_maps(path, a_picture(), a_field((5, 5)))
    return path.read_bytes()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_broken_file_is_a_sentence(whole, tmp_path_factory, data):
    place = data.draw(st.integers(0, len(whole) - 1))
    broken = data.draw(
        st.sampled_from(
            [whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]]
        )
    )
    path = tmp_path_factory.mktemp("broken") / "a.npz"
    path.write_bytes(broken)
    with suppress(RunError):  # unless the flipped bit was of no account, in a date say
        assert load_maps(path).field.grid == (5, 5)


def test_a_run_keeps_the_maps_of_each_image(run):
    done = run()
    outcomes = list(done)
    names = {f"maps/{outcome.image}.npz" for outcome in outcomes}
    assert names == {name for name in contents(done.folder.path) if name.startswith("maps")}
    for outcome, sample in zip(outcomes, done._samples.values(), strict=True):
        kept = load_maps(done.folder.maps(outcome.image))
        attention = done.pipeline.attention(sample.read())
        picture, field = attention.picture, attention.field
        assert kept.picture.size == picture.size
        assert (kept.field.rows - field.rows).abs().max() <= field.rows.max() / 100


def test_maps_of_an_earlier_run_go_with_it(run):
    first = run()
    names = [outcome.image for outcome in first]
    (other,) = run("images={use: scenes, count: 1, start: 7}")
    assert other.image not in names
    assert [path.stem for path in (first.folder.path / "maps").iterdir()] == [other.image]
