import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from attnprobe.data.scenes import Scenes
from attnprobe.errors import AttnProbeError
from attnprobe.evaluate import image_scores, region_scores
from attnprobe.pictures.labels import load_labels
from attnprobe.pictures.reading import read_image
from attnprobe.recipe import load_recipe
from attnprobe.run.results import Results
from tests.run.conftest import assert_equal_runs, contents


def files(folder):
    return sorted(contents(folder))


@pytest.fixture
def mixed(tmp_path):
    """A folder of pictures, good and bad."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in {"a.png": (40, 90, 3), "d.png": (1, 1, 3)}.items():
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(folder / name)
    (folder / "b.jpg").write_text("no picture")
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes()[:60])
    return folder


def test_a_run_s_folder_holds_what_was_found(run):
    done = run()
    names = [outcome.image for outcome in done]
    folder = done.folder.path
    pictures = [f"{kind}/{name}.png" for kind in ("labels", "overlays") for name in names]
    records = ["environment.json", "failures.jsonl", "images.json", "recipe.yaml"]
    records += ["scores.parquet", "summary.json", "timings.json"]
    records += [f"maps/{name}.npz" for name in names]
    assert files(folder) == sorted([*pictures, *records])
    listed = json.loads((folder / "images.json").read_text())
    assert [entry["image"] for entry in listed] == names
    assert load_recipe(folder / "recipe.yaml") == load_recipe(
        "diffseg", ["images={use: scenes, count: 3}"]
    )
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["seed"] == 0
    assert environment["model"] == {"model": "none", "device": "cpu"}
    assert environment["packages"]["numpy"] == np.__version__


def test_scores_are_those_of_the_labels_on_disk(run):
    done = run()
    outcomes = list(done)
    rows = parquet.read_table(done.folder.path / "scores.parquet").to_pylist()
    samples = Scenes(count=3)()
    right = valid = 0
    ious = []
    for row, outcome, sample in zip(rows, outcomes, samples, strict=True):
        labels = load_labels(done.folder.labels(sample.name))
        assert labels.shape == (128, 128)
        expected = image_scores(labels, sample.truth())
        segments = len(np.unique(labels))
        agreement = asdict(region_scores(labels, sample.truth()))
        assert row == {
            "image": sample.name, "segments": segments, "acc": expected.acc, "miou": expected.miou,
            "tp": expected.tp.tolist(), "fp": expected.fp.tolist(), "fn": expected.fn.tolist(),
            "valid": 128 * 128, "cut": None, **agreement,
        }  # fmt: skip
        assert outcome.segments == segments
        right, valid = right + expected.tp.sum(), valid + expected.valid
        ious += list(expected.iou)
        overlay = np.asarray(Image.open(done.folder.overlay(sample.name)))
        assert overlay.shape == (128, 128, 3)
        assert not np.array_equal(overlay, np.asarray(sample.read()))
    summary = json.loads((done.folder.path / "summary.json").read_text())
    assert [summary[key] for key in ("images", "done", "failed", "scored")] == [3, 3, 0, 3]
    assert summary["mean"]["acc"] == pytest.approx(np.mean([row["acc"] for row in rows]))
    assert summary["mean"]["miou"] == pytest.approx(np.mean([row["miou"] for row in rows]))
    assert summary["mean"]["segments"] == pytest.approx(np.mean([row["segments"] for row in rows]))
    assert summary["pooled"]["acc"] == pytest.approx(right / valid)
    assert summary["pooled"]["miou"] == pytest.approx(np.mean(ious))


def test_a_bad_image_is_recorded_and_passed_over(run, mixed):
    done = run(f"images={{use: folder, path: {mixed}}}")
    assert [outcome.error is None for outcome in done] == [True, False, False, True]
    folder = done.folder.path
    assert [path.name for path in sorted(folder.glob("labels/*"))] == ["a.png", "d.png"]
    lines = [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == ["b", "c"]
    for line, name in zip(lines, ("b.jpg", "c.png"), strict=True):
        assert line["where"] == str(mixed / name)
        assert line["error"].startswith(f"{mixed / name}: ")
    rows = parquet.read_table(folder / "scores.parquet").to_pylist()
    assert [(row["image"], row["acc"], row["miou"]) for row in rows] == [
        ("a", None, None),
        ("d", None, None),
    ]
    summary = json.loads((folder / "summary.json").read_text())
    assert [summary[key] for key in ("images", "done", "failed", "scored")] == [4, 2, 2, 0]
    assert summary["pooled"] == {"acc": None, "miou": None}


def test_an_error_nobody_foresaw_fails_one_image_only(run):
    def burst():
        raise ZeroDivisionError("by\nzero")

    first, second = Scenes(count=2)()
    bad, good = run(samples=[replace(first, read=burst), second])
    assert bad.error == "ZeroDivisionError: by zero"
    assert "ZeroDivisionError" in bad.trace
    assert good.error is None


def test_labels_have_the_image_s_size_or_with_crop_the_square_s(run, mixed):
    mixed.joinpath("b.jpg").unlink()
    mixed.joinpath("c.png").unlink()
    images = f"images={{use: folder, path: {mixed}}}"
    whole, _ = done = run(images)
    assert load_labels(done.folder.labels("a")).shape == (40, 90)
    assert whole.cut is None
    cropped, one_pixel = done = run(images, fit="crop", output=mixed / "run")
    assert load_labels(done.folder.labels("a")).shape == (40, 40)
    assert Image.open(done.folder.overlay("a")).size == (40, 40)
    assert cropped.cut == "fit: crop cut 25 px left and 25 px right of 90×40"
    assert one_pixel.cut is None


def test_the_truth_is_cropped_as_the_image_is(run):
    wide = np.zeros((64, 128), np.int32)
    wide[:, 64:] = 1
    picture = Image.fromarray((wide * 255).astype(np.uint8)).convert("RGB")
    (sample,) = Scenes(count=1)()
    sample = replace(sample, read=lambda: picture, truth=lambda: wide)
    (outcome,) = run(samples=[sample], fit="crop")
    assert outcome.scores.valid == 64 * 64
    assert outcome.scores.acc == pytest.approx(1, abs=0.05)


def test_equal_runs_give_equal_files_but_for_their_times(run, tmp_path):
    first, second = (run(output=tmp_path / name) for name in ("first", "second"))
    assert len(list(first)) == len(list(second)) == 3
    assert_equal_runs(first.folder.path, second.folder.path)


def test_what_is_done_is_on_disk_before_the_next_image(run):
    started = run()
    assert Results.load(started.folder).done == []
    for count, outcome in enumerate(started, start=1):
        found = Results.load(started.folder)
        assert len(found.done) == count
        assert found.done[-1].row() == outcome.row()
        assert found.done[-1].seconds == outcome.seconds
        assert started.folder.labels(outcome.image).is_file()
    assert not (started.folder.path / "progress.jsonl").exists()


def test_an_interrupted_run_keeps_what_is_done(run):
    def interrupt():
        raise KeyboardInterrupt

    samples = Scenes(count=3)()
    samples[1] = replace(samples[1], read=interrupt)
    started = run(samples=samples)
    with pytest.raises(KeyboardInterrupt):
        list(started)
    folder = started.folder.path
    assert [path.stem for path in folder.glob("labels/*")] == [samples[0].name]
    assert parquet.read_table(folder / "scores.parquet")["image"].to_pylist() == [samples[0].name]
    assert json.loads((folder / "summary.json").read_text())["done"] == 1


def test_a_folder_that_goes_away_stops_the_run(run):
    started = run()
    outcomes = iter(started)
    next(outcomes)
    for path in started.folder.path.glob("labels/*"):
        path.unlink()
    (started.folder.path / "labels").rmdir()
    with pytest.raises(AttnProbeError, match="can't be written"):
        next(outcomes)


def test_an_earlier_run_is_replaced_and_other_files_stay(run):
    first = run()
    list(first)
    folder = first.folder.path
    (folder / "notes.txt").write_text("mine")
    second = run("images={use: scenes, count: 1, start: 7}")
    (outcome,) = second
    assert [path.stem for path in folder.glob("labels/*")] == [outcome.image]
    assert [path.stem for path in folder.glob("overlays/*")] == [outcome.image]
    assert (folder / "notes.txt").read_text() == "mine"


def test_pictures_are_read_one_at_a_time(run, tmp_path):
    sizes = []

    def read(name):
        sizes.append(name)
        return read_image(path)

    path = tmp_path / "a.png"
    Image.new("RGB", (16, 16)).save(path)
    (sample,) = Scenes(count=1)()
    none = {"truth": lambda: None}
    samples = [replace(sample, name=n, read=lambda n=n: read(n), **none) for n in "ab"]
    outcomes = iter(run(samples=samples))
    assert sizes == []
    next(outcomes)
    assert sizes == ["a"]
