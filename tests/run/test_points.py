"""Runs and sweeps from Python: carried, watched, gone on with."""

from contextlib import contextmanager
from dataclasses import replace

import pytest

from attnprobe.errors import RunError
from attnprobe.recipe import load_points
from attnprobe.run import Results, RunFolder, Watch, run_points
from attnprobe.view.report import write_report
from tests.run.conftest import assert_equal_runs, contents

SWEEP = """
extends: diffseg.yaml
images: {use: scenes, count: 2}
probe: {size: 64}
group: {use: diffseg, anchors: 4}
sweep: {grid: {seed: [0, 1]}}
"""


class Seen(Watch):
    """Keeps what it is told."""

    def __init__(self):
        self.told = []

    def loading(self, recipe):
        self.told.append("loading")
        return super().loading(recipe)

    def point(self, number, count):
        self.told.append(f"{number} of {count}")

    @contextmanager
    def running(self, run, title):
        yield lambda outcome: self.told.append(f"{title} {outcome.image}")


@pytest.fixture
def points(tmp_path):
    (tmp_path / "seeds.yaml").write_text(SWEEP)
    return load_points(tmp_path / "seeds.yaml")


def test_a_sweep_is_what_the_command_line_makes_of_it(points, tmp_path, attnprobe):
    watch = Seen()
    found = run_points(points, tmp_path / "seeds", watch=watch)
    assert [len(results.done) for results in found] == [2, 2]
    images = found[0].images
    assert watch.told == [
        "loading", "0 of 2", *(f"1/2 {points[0].label} {image}" for image in images),
        "1 of 2", *(f"2/2 {points[1].label} {image}" for image in images),
    ]  # fmt: skip
    assert attnprobe("run", "seeds.yaml", "-o", "told", "--quiet")[0] == 0
    assert_equal_runs(tmp_path / "seeds", tmp_path / "told")


def test_what_is_left_is_gone_on_with_and_only_that(points, tmp_path):
    run_points(points, tmp_path / "seeds")
    whole = contents(tmp_path / "seeds")
    assert run_points(points, tmp_path / "seeds", resume=True) == []
    second = RunFolder(tmp_path / "seeds").point(points[1].label)
    second.labels(Results.load(second).images[0]).unlink()
    watch = Seen()
    (results,) = run_points(points, str(tmp_path / "seeds"), resume=True, watch=watch)
    assert len(watch.told) == 4  # of each point that it begins, of the model, of one image
    assert results.folder.path == second.path
    now = contents(tmp_path / "seeds")
    apart = {name for name in whole if whole[name] != now[name]}
    assert {name.rpartition("/")[2] for name in apart} <= {"timings.json"}


def test_a_folder_with_a_sweep_is_not_replaced(points, tmp_path):
    run_points(points, tmp_path / "seeds")
    with pytest.raises(RunError, match="holds a sweep; go on with --resume"):
        run_points(points, tmp_path / "seeds")


def test_a_run_leaves_its_report_to_who_wants_one(points, tmp_path):
    (results,) = run_points([replace(points[0], label="")], tmp_path / "one")
    assert not (tmp_path / "one" / "report.html").exists()
    assert write_report(str(tmp_path / "one")).is_file()
    assert len(results.done) == 2
