"""Runs from the command line: stopped, gone on with, swept, compared, repeated, looked ahead at."""

import json
import os
import shlex
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from attnprobe.recipe import load_recipe
from attnprobe.run.results import MEANS
from tests.run.conftest import assert_equal_runs, contents

QUICK = ["--set", "images={use: scenes, count: 3}", "--set", "probe.size=64"]

SWEEP = """
extends: diffseg.yaml
images: {use: scenes, count: 2}
probe: {size: 64, noise: true}  # without noise, the seed would change nothing
sweep: {grid: {group.anchors: [4, 12], seed: [0, 1]}}
"""


@pytest.fixture
def sweep(tmp_path):
    """A recipe of four points."""
    (tmp_path / "four.yaml").write_text(SWEEP)
    return "four.yaml"


def interrupt_when(there):
    """Send this process what Ctrl-C sends, once there is what is waited for."""

    def wait():
        while not there():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


def test_ctrl_c_tells_how_to_go_on_as_it_must_be_typed(attnprobe, tmp_path):
    out = tmp_path / "my run"
    more = ["--set", "images={use: scenes, count: 20}", "--set", "probe.size=64", "--no-cache"]
    interrupt_when(lambda: len(list(out.glob("overlays/*.png"))) >= 2)
    status, printed, err = attnprobe("run", "diffseg", *more, "--device", "cpu", "-o", out)
    assert (status, printed) == (130, "")
    first, second = err.splitlines()
    done = json.loads((out / "summary.json").read_text())["done"]
    assert 1 <= done < 20
    assert first == f"stopped: {done} of 20 images are done and kept in {out}"
    words = shlex.split(second.removeprefix("go on with: "))
    told = ["attnprobe", "run", "diffseg", "--device", "cpu", *more, "--resume", "-o", str(out)]
    assert words == told
    assert attnprobe(*words[1:])[0] == 0
    assert json.loads((out / "summary.json").read_text())["done"] == 20


def test_the_latest_run_is_gone_on_with(attnprobe):
    status, _, err = attnprobe("run", "diffseg", *QUICK, "--resume")
    assert status == 2
    assert "runs/diffseg: no run to resume" in err
    attnprobe("run", "diffseg", *QUICK)
    (folder,) = Path("runs/diffseg").iterdir()
    next(folder.glob("labels/*")).unlink()
    assert attnprobe("run", "diffseg", *QUICK, "--resume", "--quiet") == (0, f"{folder}\n", "")
    assert len(list(folder.glob("labels/*"))) == 3


def test_a_complete_run_is_left_as_it_is(attnprobe, tmp_path):
    attnprobe("run", "diffseg", *QUICK, "-o", "out")
    before = contents(tmp_path / "out")
    status, out, err = attnprobe("run", "diffseg", *QUICK, "-o", "out", "--resume")
    assert (status, out, err) == (0, "complete: all 3 images are done in out\n", "")
    assert contents(tmp_path / "out") == before


def test_what_can_t_be_resumed_is_a_sentence(attnprobe, tmp_path, sweep):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert (
        "mine: not empty and no earlier run"
        in attnprobe("run", "diffseg", "--resume", "-o", "mine")[2]
    )
    attnprobe("run", "diffseg", *QUICK, "-o", "out")
    status, out, err = attnprobe(
        "run", "diffseg", *QUICK, "--set", "seed=4", "-o", "out", "--resume"
    )
    assert (status, out) == (2, "")
    assert err.splitlines()[1:] == ["error:   - seed: 0", "error:   + seed: 4"]
    assert "holds a single run" in attnprobe("run", sweep, "-o", "out", "--resume")[2]


def test_a_sweep_has_a_run_a_point_and_a_table(attnprobe, tmp_path, sweep):
    status, out, err = attnprobe("run", sweep, "-o", "out")
    assert (status, err) == (0, "")
    rows = parquet.read_table("out/sweep.parquet").to_pylist()
    assert [(row["group.anchors"], row["seed"]) for row in rows] == [
        ("4", "0"), ("4", "1"), ("12", "0"), ("12", "1"),
    ]  # fmt: skip
    for row in rows:
        point = tmp_path / "out" / "points" / row["label"]
        recipe = load_recipe(point / "recipe.yaml")
        assert recipe.group.anchors == json.loads(row["group.anchors"])
        assert recipe.seed == json.loads(row["seed"])
        summary = json.loads((point / "summary.json").read_text())
        assert [summary["done"], summary["failed"]] == [row["done"], row["failed"]] == [2, 0]
        assert summary["mean"] == {name: row[name] for name in MEANS}
    shown = [line.split()[0] for line in out.splitlines()[2:6]]
    assert shown == [r["label"] for r in sorted(rows, key=lambda row: -row["miou"])]
    # A point is the run that its recipe makes by itself, without what one looks at.
    label = rows[2]["label"]
    attnprobe("run", f"out/points/{label}/recipe.yaml", "-o", "alone", "--no-cache")
    shutil.rmtree("alone/maps")
    Path("alone/report.html").unlink()
    assert_equal_runs(tmp_path / "alone", tmp_path / "out" / "points" / label)
    assert attnprobe("run", sweep, "-o", "out", "--resume") == (
        0, "complete: all 4 points are done in out\n", "",
    )  # fmt: skip
    assert "holds a sweep; go on with --resume" in attnprobe("run", sweep, "-o", "out")[2]
    status, _, err = attnprobe(
        "run", sweep, "-o", "out", "--resume", "--set", "probe.size=32", "--debug"
    )
    assert "error:   + probe.size: 32" in err


def test_a_sweep_over_other_points_is_refused(attnprobe, tmp_path, sweep):
    attnprobe("run", sweep, "-o", "out", "--quiet")
    text = (tmp_path / sweep).read_text()
    (tmp_path / "other.yaml").write_text(text.replace("[4, 12]", "[4, 13]"))
    status, _, err = attnprobe("run", "other.yaml", "-o", "out", "--resume")
    assert status == 2
    assert "holds a sweep over other points" in err
    assert "error:   - 03-anchors=12-seed=0" in err
    assert "error:   + 03-anchors=13-seed=0" in err


def test_a_stopped_sweep_goes_on_where_it_was(attnprobe, tmp_path, sweep):
    attnprobe("run", sweep, "-o", "whole", "--quiet")
    out = tmp_path / "out"
    interrupt_when(lambda: list(out.glob("points/02*/overlays/*.png")))
    status, _, err = attnprobe("run", sweep, "-o", out, "--no-cache")
    assert status == 130
    assert err.startswith("stopped: 1 of 4 points and ")
    words = shlex.split(err.splitlines()[1].removeprefix("go on with: attnprobe "))
    assert attnprobe(*words)[0] == 0
    assert_equal_runs(tmp_path / "whole", out)


def test_runs_are_compared(attnprobe, tmp_path):
    attnprobe("run", "diffseg", *QUICK, "-o", "one")
    attnprobe("run", "diffseg", *QUICK, "--set", "group.anchors=3", "-o", "[b]two")
    status, out, err = attnprobe("compare", "one", "[b]two", "--html", "page.html")
    assert (status, err) == (0, "")
    assert out.startswith("3 images in common\n")
    assert "2  [b]two" in out
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * page.count("<h3>") > 0
    assert 'src="http' not in page
    assert attnprobe("compare", "one")[0] == 0
    status, out, err = attnprobe("compare", "one", "nowhere")
    assert (status, out, err) == (2, "", "error: nowhere: no such folder\n")


def test_a_run_is_repeated_and_its_labels_are_the_same(attnprobe):
    attnprobe("run", "diffseg", *QUICK, "-o", "one")
    status, out, _ = attnprobe("rerun", "one", "-o", "two", "--quiet")
    assert (status, out) == (0, "two\nlabels are the same: 3 images, byte for byte\n")
    place = next(Path("one/labels").iterdir())
    with Image.open(place) as picture:
        changed = np.array(picture)
    changed[:16] = changed.max() + 1
    Image.fromarray(changed).save(place)
    status, out, _ = attnprobe("rerun", "one", "--quiet")
    assert status == 1
    assert "labels differ: in 1 of 3 images, 12.50% of their pixels" in out
    assert place.stem in out
    assert "into its own folder" in attnprobe("rerun", "one", "-o", "one")[2]
