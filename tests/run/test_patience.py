"""What stops one image, what stops a run, and what neither."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image

from attnprobe.data.scenes import Scenes
from attnprobe.errors import RunError
from attnprobe.fields import Segmentation
from attnprobe.files import LONGEST_NAME, safe_name
from attnprobe.recipe import load_recipe
from attnprobe.run.carry import Run
from attnprobe.run.patience import Patience, fault_of
from attnprobe.run.results import Results


def failing(message):
    def read():
        raise OSError(message)

    return read


def scenes(count, messages):
    """So many samples; those with a message fail with it."""
    return [
        replace(sample, read=failing(message)) if message else sample
        for sample, message in zip(Scenes(count=count)(), messages, strict=True)
    ]


def carry(run, samples, **options):
    """Carry samples with options of `Run`; what came of them and what stopped it."""
    first = run(f"images.count={len(samples)}", samples=samples)
    recipe = load_recipe("diffseg", [f"images={{use: scenes, count: {len(samples)}}}"])
    started = Run(recipe, samples, first.pipeline, first.folder, **options)
    outcomes = []
    try:
        for outcome in started:
            outcomes.append(outcome)
    except RunError as error:
        return outcomes, str(error), started
    return outcomes, None, started


def test_ten_equal_failures_from_the_start_stop_a_run(run):
    samples = scenes(12, [f"at 0x{i}: the disk is away" for i in range(12)])
    outcomes, error, started = carry(run, samples)
    assert len(outcomes) == 10
    assert error.startswith("the first 10 images all fail in the same way: OSError: at 0x9")
    assert "--max-failures" in error
    assert len(Results.load(started.folder).failed) == 10  # and can be gone on with


@pytest.mark.parametrize(
    "messages",
    [
        [None] + ["away"] * 11,  # one succeeds first
        ["away"] * 9 + [None] + ["away"] * 2,
        [f"fault {'abcdefghijkl'[i]}" for i in range(12)],  # of different kinds
    ],
)
def test_other_failures_stop_none(run, messages):
    outcomes, error, _ = carry(run, scenes(12, messages))
    assert (len(outcomes), error) == (12, None)


@pytest.mark.parametrize("most", [1, 3])
def test_a_number_of_failures_may_be_given(run, most):
    messages = ["away" if i % 2 else None for i in range(12)]
    outcomes, error, _ = carry(run, scenes(12, messages), max_failures=most)
    assert len(outcomes) == 2 * most
    assert error.endswith("the last one so: OSError: away")


def test_a_run_that_is_at_its_end_has_nothing_to_stop(run):
    outcomes, error, started = carry(run, scenes(10, ["away"] * 10))
    assert (len(outcomes), error) == (10, None)
    assert json.loads((started.folder.path / "summary.json").read_text())["failed"] == 10


def test_more_failures_may_be_allowed(run):
    outcomes, error, _ = carry(run, scenes(12, ["away"] * 12), max_failures=100)
    assert (len(outcomes), error) == (12, None)


def test_a_device_that_cant_compute_stops_a_run(run):
    assert fault_of(torch.device("cpu")) == ""
    device = torch.device("meta")  # which holds no numbers, so that nothing comes of an addition
    assert fault_of(device)
    good = next(iter(run()))
    Patience(None, device).take(good)
    bad = replace(good, error="CUDA error: device-side assert triggered")
    with pytest.raises(RunError, match="meta can't compute any more"):
        Patience(100, device).take(bad)


def test_the_traceback_of_each_failure_is_kept(run):
    _, _, started = carry(run, scenes(2, ["away", None]))
    (line,) = (started.folder.path / "failures.jsonl").read_text().splitlines()
    failure = json.loads(line)
    assert failure["error"] == "OSError: away"
    assert failure["trace"].startswith("Traceback (most recent call last)")
    assert "in read\n" in failure["trace"]
    (found,) = Results.load(started.folder).failed
    assert found.trace == failure["trace"]


@dataclass(frozen=True)
class Large:
    """A grouper that gives one image a number that no label file takes."""

    def __call__(self, field, rng=None, truth=None):
        labels = np.zeros(field.grid, np.int64)
        if field.rows[0, 0] > 0.02:
            labels[0, 0] = 10**6
        return Segmentation(labels)


def test_one_image_s_label_number_is_its_own_fault(run):
    bright = np.zeros((64, 64, 3), np.uint8)
    bright[:8, :8] = 255
    dark = Image.new("RGB", (64, 64))
    (sample,) = Scenes(count=1)()
    samples = [
        replace(sample, name=name, truth=lambda: None, read=lambda picture=picture: picture)
        for name, picture in {"a": dark, "b": Image.fromarray(bright), "c": dark}.items()
    ]
    started = run(samples=samples)
    started.pipeline = replace(started.pipeline, group=Large())
    a, b, c = started
    assert (a.error, c.error) == (None, None)
    assert "labels in a PNG must be from 0 to 65534" in b.error
    folder = started.folder.path
    assert sorted(path.stem for path in folder.glob("labels/*")) == ["a", "c"]
    assert sorted(path.stem for path in folder.glob("maps/*")) == ["a", "c"]


def test_names_that_no_disk_takes_are_changed(run, tmp_path):
    place = tmp_path / "pictures"
    place.mkdir()
    names = ["x" * 251 + ".png", "x" * 251 + ".jpg", "é" * 120 + ".png", "a\x1b[31m.png"]
    for name in names:
        Image.new("RGB", (40, 30)).save(place / name)
    done = run(f"images={{use: folder, path: {place}}}")
    outcomes = list(done)
    assert [outcome.error for outcome in outcomes] == [None] * 4
    kept = {outcome.image for outcome in outcomes}
    assert len(kept) == 4
    assert "a?[31m" in kept
    assert all(len(name.encode()) <= LONGEST_NAME for name in kept)
    assert {path.stem for path in (done.folder.path / "labels").iterdir()} == kept
    again = run(f"images={{use: folder, path: {place}}}", resume=True)
    assert again.left == []


@pytest.mark.parametrize("name", ["a", "scene-1", "ä.b c", "\u3000"])
def test_other_names_stay(name):
    assert safe_name(name) == name


@pytest.mark.parametrize("name", ["a/b", "", "\udcff", "\u202egnp", ".tmp-0", "y" * 999, "é" * 999])
def test_safe_names_are_safe(name):
    safe = safe_name(name)
    assert safe_name(safe) == safe != name
    assert "/" not in safe
    assert 0 < len(safe.encode()) <= LONGEST_NAME


def test_the_command_says_why_it_stopped_and_how_to_go_on(attnprobe, tmp_path):
    place = tmp_path / "pictures"
    place.mkdir()
    for number in range(12):
        (place / f"{number}.png").write_text("no picture")
    command = ["run", "diffseg", "--images", place, "-o", "out", "--set", "probe.size=32"]
    status, out, err = attnprobe(*command)
    assert (status, out) == (2, "")
    why, how = err.splitlines()
    assert why.startswith("error: the first 10 images all fail in the same way: ")
    assert how.startswith("error: 0 of 12 images are done and kept; go on with: attnprobe run")
    status, _, err = attnprobe(*command, "--resume", "--fail-fast")
    assert (status, err.splitlines()[0][:23]) == (2, "error: an image fails, ")
    status, out, err = attnprobe(*command, "--resume", "--max-failures", "100")
    assert status == 1
    status, out, err = attnprobe(*command, "--fail-fast", "--max-failures", "3")
    assert (status, err) == (
        2,
        "error: --fail-fast is --max-failures 1; give one of them. Got 3 too.\n",
    )
