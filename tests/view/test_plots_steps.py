import os
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attnprobe.errors import AttnProbeError
from attnprobe.fields import Segmentation
from attnprobe.pictures.overlay import overlay
from attnprobe.pictures.palette import ranked_by_area
from attnprobe.view import COLUMN, PAGE, segments_over_time
from attnprobe.view.plots.steps import followed
from tests.view.figures import check_legible


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (61, 83, 3), np.uint8))


@pytest.fixture
def steps(voronoi):
    return [Segmentation(voronoi(12, 16, count)) for count in (1, 2, 3, 5, 8, 8, 8, 8, 8, 8)]


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """The program ffmpeg, found as any program is."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize("width", [COLUMN, PAGE])
def test_it_shows_first_last_and_some_between(steps, picture, width):
    plot = segments_over_time(steps, picture, width=width)
    titles = [axis.get_title() for axis in plot.axes]
    assert titles[0] == "step 0\n1 segment"
    assert titles[-1] == "step 9\n8 segments"
    assert len(titles) == int(width / 0.8)
    assert len(plot.frames) == 10
    check_legible(plot)


def test_steps_may_have_other_numbers(steps, picture):
    plot = segments_over_time(steps[:3], picture, steps=(0, 10, 20))
    assert [axis.get_title()[:7].strip() for axis in plot.axes] == ["step 0", "step 10", "step 20"]


def test_the_last_step_has_its_overlay_s_colours(steps, picture):
    frame = np.asarray(segments_over_time(steps, picture).frames[-1]).astype(int)
    last = steps[-1].resized((61, 83))
    expected = np.asarray(overlay(picture, last.labels)).astype(int)
    coloured = (frame != 255).any(2) & (expected != 255).any(2)
    assert coloured.mean() > 0.8
    assert np.abs(frame - expected)[coloured].max() <= 1


@given(st.integers(0, 10**6), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_following_renumbers_and_never_regroups(seed, count):
    rng = np.random.default_rng(seed)
    steps = [rng.integers(0, rng.integers(1, 7), (6, 7)) * 3 for _ in range(count)]
    done = followed(steps)
    for before, after in zip(steps, done, strict=True):
        pairs = {*zip(before.ravel().tolist(), after.ravel().tolist(), strict=True)}
        assert len(pairs) == len(np.unique(before)) == len(np.unique(after))
    labels, rank = ranked_by_area(steps[-1])
    assert np.array_equal(done[-1], rank[labels + 1])


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_segments_that_stay_keep_their_numbers(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, (8, 8))
    shuffled = rng.permutation(5)[labels]
    first, second = followed([shuffled, labels])
    assert np.array_equal(first, second)


def test_a_segment_that_comes_and_goes_has_a_number_of_its_own():
    split = np.array([[0, 0, 0, 1], [0, 0, 0, 1]])
    whole = np.zeros((2, 4), int)
    first, middle, last = followed([split, split, whole])
    assert np.array_equal(first, split)
    assert np.array_equal(middle, split)
    assert not last.any()


def test_a_gif_has_a_frame_a_step_even_if_nothing_changes(voronoi, picture, tmp_path):
    same = [Segmentation(voronoi(12, 16, 4))] * 7
    plot = segments_over_time(same, picture)
    plot.save(tmp_path / "x.gif")
    with Image.open(tmp_path / "x.gif") as film:
        assert film.n_frames == 7
        assert film.info["loop"] == 0
        assert film.width == 83
        for number in range(7):
            film.seek(number)
            assert film.info["duration"] == 250
            seen = np.asarray(film.convert("RGB"))[:61].astype(int)
            assert np.abs(seen - np.asarray(plot.frames[number])).mean() < 12  # 256 colours


def test_an_mp4_has_a_frame_a_step(steps, picture, ffmpeg, tmp_path):
    plot = segments_over_time(steps, picture)
    plot.save(tmp_path / "x.mp4")
    raw = subprocess.run(
        ["ffmpeg", "-i", tmp_path / "x.mp4", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        capture_output=True,
        check=True,
    )
    assert b"h264" in raw.stderr
    assert b"yuv420p" in raw.stderr
    frames = np.frombuffer(raw.stdout, np.uint8).reshape(-1, 64, 84, 3).astype(int)
    assert len(frames) == 10
    for seen, frame in zip(frames, plot.frames, strict=True):
        assert np.abs(seen[:61, :83] - np.asarray(frame)).mean() < 30  # colour at half the size


def test_without_ffmpeg_it_says_so(steps, picture, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AttnProbeError, match=r"ffmpeg, which isn't installed; save a \.gif"):
        segments_over_time(steps, picture).save(tmp_path / "x.mp4")
    assert not [*tmp_path.iterdir()]


def test_what_ffmpeg_says_is_told(steps, picture, tmp_path, monkeypatch):
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\ncat > /dev/null\necho no such codec >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(AttnProbeError, match="can't write the film: no such codec"):
        segments_over_time(steps, picture).save(tmp_path / "x.mp4")
    assert [*tmp_path.iterdir()] == [broken]


def test_it_is_saved_as_a_plot_too(steps, picture, tmp_path):
    segments_over_time(steps, picture).save(tmp_path / "x.pdf")
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")


def test_what_is_missing_is_told(steps, picture):
    with pytest.raises(AttnProbeError, match="one segmentation or more"):
        segments_over_time([], picture)
    with pytest.raises(AttnProbeError, match="Got 10 and 2 instead"):
        segments_over_time(steps, picture, steps=(1, 2))
