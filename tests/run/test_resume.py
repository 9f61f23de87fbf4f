import json
from dataclasses import replace

import pytest
from PIL import Image
from pyarrow import parquet

from attnprobe.data.scenes import Scenes
from attnprobe.errors import RunError
from attnprobe.run.folder import RunFolder
from attnprobe.run.results import Results
from attnprobe.run.resume import environment_notes, refuse_to_replace, with_earlier
from tests.run.conftest import assert_equal_runs, contents


def fail():
    raise OSError("the disk of the picture is away")


@pytest.fixture
def unbroken(run, tmp_path):
    """A run of six scenes that nothing happened to."""
    done = run("images.count=6", output=tmp_path / "unbroken")
    assert len(list(done)) == 6
    return done.folder.path


def begin(run, count, **options):
    """Start the same run and do some of its images; the generator keeps it from stopping."""
    started = run("images.count=6", **options)
    outcomes = iter(started)
    for _ in range(count):
        next(outcomes)
    return started, outcomes


@pytest.mark.parametrize("count", [0, 1, 5, 6])
def test_a_stopped_run_ends_with_the_bytes_of_an_unbroken_one(run, unbroken, count):
    started, outcomes = begin(run, count)
    outcomes.close()  # as Ctrl-C does
    again = run("images.count=6", resume=True)
    assert len(list(again)) == 6 - count
    assert_equal_runs(unbroken, started.folder.path)
    times = json.loads((started.folder.path / "timings.json").read_text())
    assert list(times) == started.results.images


def test_what_a_killed_run_has_kept_is_taken_up_and_half_a_line_is_not(run, unbroken, tmp_path):
    _, outcomes = begin(run, 4)
    found = contents(tmp_path / "run")
    outcomes.close()
    journal = found["progress.jsonl"]
    for cut in (1, 40):
        folder = tmp_path / f"killed-{cut}"
        for name, data in found.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        (folder / "progress.jsonl").write_bytes(journal[:-cut])
        again = run("images.count=6", output=folder, resume=True)
        assert len(again.results.done) == 3
        assert len(list(again)) == 3
        assert_equal_runs(unbroken, folder)


def test_a_failed_image_is_tried_again_and_its_failure_forgotten(run, unbroken):
    samples = list(Scenes(count=6)())
    bad = [replace(s, read=fail) if i in (1, 3) else s for i, s in enumerate(samples)]
    first = run("images.count=6", samples=bad)
    list(first)
    folder = first.folder.path
    assert [o.image for o in first.results.failed] == [samples[1].name, samples[3].name]
    assert "OSError: the disk of the picture" in (folder / "failures.jsonl").read_text()
    one = run("images.count=6", samples=[samples[1] if i == 1 else s for i, s in enumerate(bad)],
              resume=True)  # fmt: skip
    assert one.left == [samples[1].name, samples[3].name]
    list(one)
    assert [o.image for o in Results.load(one.folder).failed] == [samples[3].name]
    again = run("images.count=6", resume=True)
    (outcome,) = again
    assert outcome.image == samples[3].name
    assert_equal_runs(unbroken, folder)
    assert Results.load(RunFolder(folder)).complete


def test_a_failure_not_yet_tried_again_stays_told(run):
    samples = list(Scenes(count=6)())
    list(run("images.count=6", samples=[replace(sample, read=fail) for sample in samples]))
    started, outcomes = begin(run, 1, resume=True)
    outcomes.close()
    found = Results.load(started.folder)
    assert [o.image for o in found.done] == [samples[0].name]
    assert [o.image for o in found.failed] == [sample.name for sample in samples[1:]]


def test_pictures_that_are_gone_are_drawn_again(run, unbroken):
    first = run("images.count=6")
    names = [outcome.image for outcome in first]
    first.folder.labels(names[2]).unlink()
    first.folder.overlay(names[4]).unlink()
    assert [outcome.image for outcome in run("images.count=6", resume=True)] == [names[2], names[4]]
    assert_equal_runs(unbroken, first.folder.path)


def test_another_recipe_is_refused_with_what_differs(run):
    list(run())
    with pytest.raises(RunError) as error:
        run("group.thresholds.0=0.5", "seed=3", resume=True)
    head, *lines = str(error.value).splitlines()
    assert head.endswith("holds a run of another recipe, and only the same can go on:")
    assert lines == [
        "  - group.thresholds.0: 0.7", "  + group.thresholds.0: 0.5", "  - seed: 0", "  + seed: 3",
    ]  # fmt: skip


def test_images_that_came_or_went_are_told_and_nothing_is_lost(run, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, name in enumerate("abcd"):
        Image.new("RGB", (40, 30), (50 * number, 9, 90)).save(pictures / f"{name}.png")
    images = f"images={{use: folder, path: {pictures}}}"
    started = run(images)
    outcomes = iter(started)
    next(outcomes)
    outcomes.close()
    for name in "ac":
        (pictures / f"{name}.png").unlink()
    Image.new("RGB", (20, 20)).save(pictures / "0.png")
    again = run(images, resume=True)
    assert again.notes == ["the images have changed since: 1 new (0); 2 gone (a, c)"]
    assert [(o.image, o.error) for o in again] == [
        ("b", None), ("c", "c: no longer among the images of its source"), ("d", None), ("0", None),
    ]  # fmt: skip
    rows = parquet.read_table(again.folder.path / "scores.parquet")["image"].to_pylist()
    assert rows == ["a", "b", "d", "0"]


def test_an_image_deleted_while_the_run_goes_fails_alone(run, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in "abc":
        Image.new("RGB", (40, 30)).save(pictures / f"{name}.png")
    outcomes = iter(run(f"images={{use: folder, path: {pictures}}}"))
    next(outcomes)
    (pictures / "b.png").unlink()
    second, third = outcomes
    assert second.error.startswith(f"{pictures / 'b.png'}: ")
    assert third.error is None


def test_a_changed_environment_is_noted_and_recorded(run):
    first = run("images.count=6")
    list(first)
    place = first.folder.path / "environment.json"
    before = json.loads(place.read_text())
    before["packages"]["torch"] = "1.0"
    place.write_text(json.dumps(before))
    again = run("images.count=6", resume=True)
    recorded = json.loads(place.read_text())
    assert recorded["earlier"] == [before]
    assert again.notes == [
        f"torch was 1.0 when the run began and is {recorded['packages']['torch']} now"
    ]
    assert run("images.count=6", resume=True).notes == []


def test_environments_add_up():
    one, two, three = ({"python": str(i)} for i in range(3))
    kept = with_earlier(with_earlier(one, two), three)
    assert kept == {"python": "2", "earlier": [one, two]}
    assert environment_notes(kept, three) == []


def test_a_run_that_isn_t_over_is_not_replaced(run):
    started, outcomes = begin(run, 2)
    for _ in range(2):
        with pytest.raises(RunError, match="holds a run that isn't over; go on with --resume"):
            refuse_to_replace(started.folder)
        outcomes.close()
    list(run("images.count=6", resume=True))
    refuse_to_replace(started.folder)


def test_what_a_run_s_files_say_is_what_was_found(run):
    samples = list(Scenes(count=3)())
    samples[1] = replace(samples[1], truth=lambda: None)
    done = run(samples=samples, fit="crop")
    outcomes = list(done)
    found = Results.load(done.folder)
    assert [o.row() for o in found.outcomes] == [o.row() for o in outcomes]
    assert found.summary() == done.results.summary()
    assert found.complete


def test_files_that_are_no_run_s_are_told(run):
    done = run()
    list(done)
    place = done.folder.path
    for name in ("scores.parquet", "summary.json", "images.json", "failures.jsonl"):
        whole = (place / name).read_bytes()
        (place / name).write_text("{")
        with pytest.raises(RunError, match=rf"{name}: can't be read"):
            Results.load(done.folder)
        (place / name).write_bytes(whole)
