"""What a dry run says of a run, against that run."""

import re
import time
from dataclasses import dataclass

import pytest

from attnprobe import registry
from attnprobe.fields import AttentionField
from attnprobe.group.kmeans import KMeans
from attnprobe.recipe import load_points
from attnprobe.run import estimate as estimates
from attnprobe.run.dry import dry_run, in_time
from attnprobe.run.estimate import estimate
from tests.run.conftest import contents

QUICK = ["images={use: scenes, count: 30}", "probe.size=64"]

SWEEP = """
extends: diffseg.yaml
images: {use: scenes, count: 2}
probe: {size: 64, noise: true}  # without noise, the seed would change nothing
sweep: {grid: {group.anchors: [4, 12], seed: [0, 1]}}
"""

UNIT = {"B": 1, "KiB": 2**10, "MiB": 2**20}


@pytest.fixture
def sweep(tmp_path):
    """A recipe of four points."""
    (tmp_path / "four.yaml").write_text(SWEEP)
    return tmp_path / "four.yaml"


def test_a_dry_run_looks_and_leaves_nothing(attnprobe, tmp_path, sweep, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = contents(tmp_path)
    status, out, err = attnprobe("run", sweep, "--dry-run")
    assert (status, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["ok", what] for what in ("recipe", "points", "images", "model", "maps", "time", "disk")
    ]
    assert "2 from scenes; the first is 128×128, with truth" in out
    assert "an image (timed on the first, at 4 of 4 points)" in out
    # 64 px are a quarter of 128 px, and have a sixteenth of the pairs of tokens.
    sizes = [re.search(r"3 layers, ([\d.]+) (\w+) an image", out)]
    out = attnprobe("run", sweep, "--dry-run", "--set", "probe.size=128")[1]
    sizes.append(re.search(r"3 layers, ([\d.]+) (\w+) an image", out))
    small, large = (float(s[1]) * UNIT[s[2]] for s in sizes)
    assert large == pytest.approx(16 * small, rel=0.01)
    status, out, _ = attnprobe(
        "run", "diffseg", "--dry-run", "--model", "org/none", "--images", "nowhere"
    )
    assert status == 2
    assert out.count("fails") == 3
    assert "time" not in out
    assert contents(tmp_path) == before


def test_the_bytes_are_those_that_the_run_then_writes(attnprobe, tmp_path, sweep):
    one = estimate(load_points(sweep, ["images.count=1"]))
    attnprobe("run", sweep, "--set", "images.count=1", "-o", "out", "--quiet")
    pictures = tmp_path.glob("out/points/*/*/*.png")
    assert one.pictures == sum(path.stat().st_size for path in pictures)
    fields = [path.stat().st_size for path in (tmp_path / "cache").iterdir()]
    assert len(fields) == 2  # one a seed, and the two numbers of anchors share them
    assert one.fields == pytest.approx(sum(fields), rel=0.01)


@pytest.fixture
def slow(monkeypatch):
    """A grouper that takes half a second, known as `slow`."""
    registry.entries("groupers")
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    @registry.grouper("slow")
    @dataclass(frozen=True)
    class Slow:
        """Takes its time."""

        number: int = 0

        def __call__(self, field: AttentionField, *, rng, truth=None):
            time.sleep(0.5)
            return KMeans(2)(field, rng=rng)


def test_the_time_counts_every_point_that_there_is_time_for(slow, tmp_path, monkeypatch):
    monkeypatch.setattr(estimates, "BUDGET", 1.2)
    path = tmp_path / "slow.yaml"
    path.write_text(
        "extends: diffseg.yaml\nsweep: {grid: {group.number: [0, 1, 2, 3, 4, 5]}}\n"
        "group: {use: slow}\n"
    )
    points = load_points(path, QUICK)
    found = estimate(points)
    assert 1 <= found.timed <= 3
    assert found.cut >= 6 * 0.5
    assert found.look < found.cut  # the model is asked once, not at each point
    (said,) = (check.found for check in dry_run(points) if check.what == "time")
    assert re.match(r"about (\d+) (s|min): ", said)
    assert "of 6 points" in said


def test_pictures_that_the_model_draws_are_drawn_at_every_point():
    prompts = "images={use: prompts, prompts: [a red plain disc], steps: 2}"
    (point,) = load_points("diffseg", [prompts])
    one, both = estimate([point]), estimate([point, point])
    assert one.fields == both.fields == 0
    assert both.timed == 2
    assert both.pictures == 2 * one.pictures


def test_a_first_image_that_can_t_be_segmented_fails(attnprobe):
    status, out, _ = attnprobe("run", "kmeans-s", "--set", "images={use: photos}", "--dry-run")
    assert status == 2
    assert "fails  time    the first image fails: KMeans: clusters is 'truth', but " in out


def test_a_disk_without_room_fails(monkeypatch):
    points = load_points("diffseg", ["images={use: scenes, count: 1}", "probe.size=64"])
    assert {check.what: check.passed for check in dry_run(points)}["disk"]
    monkeypatch.chdir("/proc")  # a file system that has no bytes to give
    (disk,) = (check for check in dry_run(points) if check.what == "disk")
    assert not disk.passed
    assert disk.found.endswith("; 0 B are free")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 s"), (99.4, "99 s"), (100, "2 min"), (5940, "99 min"), (9000, "2 h 30 min")],
)
def test_times_are_said_in_fitting_units(seconds, said):
    assert in_time(seconds) == said


@pytest.mark.parametrize(
    ("words", "found"),
    [
        # 3 layers of 32² tokens, 3 of 16² and 4 of 8², a number of 4 bytes a word
        ("[star, disc]", "10 layers, 32.0 KiB an image at 128 px"),
        ("[]", "10 layers; their size isn't known for this model"),
    ],
)
def test_maps_of_words_that_are_not_told_have_no_size(words, found):
    checks = dry_run(load_points("daam", [f"probe.words={words}", "images.steps=1"]))
    assert [check.found for check in checks if check.what == "maps"] == [found]
