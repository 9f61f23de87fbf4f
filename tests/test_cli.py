import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import typer
from PIL import Image
from pyarrow import parquet

from attnprobe.cli import main
from attnprobe.models import PRESETS
from attnprobe.pictures.labels import load_labels
from attnprobe.recipe import load_recipe

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
READING = "reading diffseg …\n"
HEAVY = {"torch", "numpy", "diffusers", "transformers", "pyarrow", "scipy", "sklearn"}


@pytest.fixture
def attnprobe(tmp_path, monkeypatch, capsys):
    """Run the command line in an empty folder; exit status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def attnprobe(*arguments):
        with mock.patch.dict(os.environ), pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return attnprobe


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(rng.integers(0, 256, (50, 80, 3), np.uint8)).save(folder / name)
    return folder


def python(*arguments, **options):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, check=False, **options
    )


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments, tmp_path):
    code = f"""
import sys
from attnprobe.cli import main
try:
    main({arguments})
finally:
    print("heavy:", {HEAVY} & set(sys.modules))
"""
    result = python("-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("heavy: set()\n")


def test_the_module_runs_as_the_command_does(tmp_path):
    result = python("-m", "attnprobe", "run", "--help", cwd=tmp_path)
    assert result.returncode == 0
    options = ("--images", "--model", "--set", "-o", "--device", "--dtype", "--quiet", "--debug")
    assert all(option in result.stdout for option in options)


def test_the_reference_recipe_runs_from_end_to_end(attnprobe):
    status, out, err = attnprobe("run", "diffseg", "-o", "first", "--set", "images.1.count=3")
    assert (status, err) == (0, READING)
    rows = parquet.read_table("first/scores.parquet").to_pylist()
    assert [row["image"] for row in rows[:2]] == ["china", "flower"]
    assert all(row["acc"] is None for row in rows[:2])
    lines = [line.split() for line in out.splitlines()[2:7]]
    assert [line[:2] for line in lines] == [[row["image"], str(row["segments"])] for row in rows]
    summary = json.loads(Path("first/summary.json").read_text())
    assert summary["scored"] == 3
    assert summary["mean"]["acc"] > 0.6
    assert load_labels("first/labels/china.png").shape == (427, 640)
    assert attnprobe("run", "first/recipe.yaml", "-o", "second", "--quiet")[0] == 0
    for name in ("scores.parquet", "summary.json", "recipe.yaml", "labels/china.png"):
        assert (Path("first") / name).read_bytes() == (Path("second") / name).read_bytes()


def test_a_run_shows_its_results_and_where_they_lie(attnprobe, pictures):
    status, out, err = attnprobe("run", "diffseg", "--images", pictures)
    assert (status, err) == (0, READING)
    assert [line.split()[0] for line in out.splitlines()[2:4]] == ["a", "b"]
    (folder,) = Path("runs/diffseg").iterdir()
    assert f"run folder  {folder}\n" in out
    assert load_recipe(folder / "recipe.yaml").sources[0].path == str(pictures)
    for name in "ab":
        assert load_labels(folder / "labels" / f"{name}.png").shape == (50, 80)
        assert Image.open(folder / "overlays" / f"{name}.png").size == (80, 50)


def test_a_bad_image_makes_the_status_1_and_stops_no_other(attnprobe, pictures):
    (pictures / "a.png").write_text("no picture")
    status, out, err = attnprobe("run", "diffseg", "--images", pictures)
    assert (status, err) == (1, READING)
    assert f"failed  {pictures / 'a.png'}: not a picture" in out
    (folder,) = Path("runs/diffseg").iterdir()
    assert [path.name for path in (folder / "labels").iterdir()] == ["b.png"]
    assert json.loads((folder / "failures.jsonl").read_text())["image"] == "a"


def test_options_reach_the_recipe_and_quiet_says_only_the_folder(attnprobe):
    status, out, err = attnprobe(
        "run", "diffseg", "--model", PRESETS["tiny"].repo, "--device", "cpu", "--dtype", "float32",
        "--set", "images={use: scenes, count: 1}", "--set", "group.anchors=4", "-o", "here",
        "--quiet",
    )  # fmt: skip
    assert (status, out, err) == (0, "here\n", "")
    recipe = load_recipe("here/recipe.yaml")
    assert (recipe.model.preset, recipe.model.repo) == (None, PRESETS["tiny"].repo)
    assert (recipe.model.device, recipe.model.dtype, recipe.group.anchors) == ("cpu", "float32", 4)
    row, = parquet.read_table("here/scores.parquet").to_pylist()  # fmt: skip
    assert 0 < row["acc"] <= 1
    assert json.loads(Path("here/environment.json").read_text())["model"]["device"] == "cpu"


def test_what_a_crop_cuts_is_said(attnprobe, pictures):
    _, out, _ = attnprobe(
        "run", "diffseg", "--images", pictures / "a.png",
        "--set", "probe.fit=crop",
    )  # fmt: skip
    assert "a: fit: crop cut 15 px left and 15 px right of 80×50\n" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "difseg"], "difseg: there is no such recipe; did you mean diffseg"),
        (["run", "diffseg", "--model", "sd1"], "unknown preset 'sd1'; did you mean sd"),
        (["run", "diffseg", "--model", "no/such/folder"], "model 'no/such/folder' is neither"),
        (["run", "diffseg", "--images", "nowhere"], "nowhere: no such file"),
        (["run", "diffseg", "--images", "*.jpg"], "*.jpg: no such file"),
        (["run", "diffseg", "--dtype", "fp16"], "--dtype fp16: model.dtype: must be 'float32'"),
        (["run", "diffseg", "--device", "abacus"], "device 'abacus' can't be used"),
        (["run", "diffseg", "--set", "group.ancors=3"], "did you mean anchors?"),
        (["run", "diffseg", "--set", "anchors"], "--set anchors: must be key=value"),
        (["list", "grouper"], "unknown kind 'grouper'; did you mean groupers?"),
    ],
)
def test_what_prevents_a_run_is_one_line_and_status_2(attnprobe, arguments, sentence, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    status, out, err = attnprobe(*arguments)
    assert (status, out) == (2, "")
    *reading, told = err.splitlines()
    assert reading == (["reading diffseg …"] if arguments[1] == "diffseg" else reading)
    assert len(reading) == (arguments[0] == "run")
    assert told.startswith("error: ")
    assert sentence in told
    assert not Path("runs").exists()


def test_layers_that_the_model_lacks_are_told_before_the_first_image(attnprobe):
    status, out, err = attnprobe("run", "diffseg", "--set", "probe.layers.names=[mid_block.attn9]")
    assert (status, out) == (2, "")
    assert "no layer is called 'mid_block.attn9'" in err
    assert not Path("runs").exists()


def test_a_folder_that_can_t_be_used_is_told_before_the_model_is_loaded(attnprobe, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    for output in ("mine", "mine/thesis.tex"):
        status, _, err = attnprobe("run", "diffseg", "--model", "no/such", "-o", output)
        assert status == 2
        assert f"\nerror: {output}: " in err
        assert "model" not in err


def test_all_faults_of_a_recipe_are_told_a_line_each(attnprobe, tmp_path):
    text = (ROOT / "recipes" / "diffseg.yaml").read_text()
    (tmp_path / "bad.yaml").write_text(
        text.replace("thresholds", "treshold").replace("size", "szie")
    )
    (tmp_path / "good.yaml").write_text(text)
    status, out, err = attnprobe("validate", "good.yaml", "bad.yaml", "none.yaml")
    assert (status, out) == (2, "good.yaml: ok\n")
    starts = ("error: bad.yaml:", "error: bad.yaml:", "error: none.yaml: ")
    assert all(line.startswith(s) for line, s in zip(err.splitlines(), starts, strict=True))
    assert attnprobe("validate", "good.yaml") == (0, "good.yaml: ok\n", "")


def test_a_traceback_is_shown_with_debug_alone(attnprobe, monkeypatch):
    assert "Traceback" not in attnprobe("run", "difseg")[2]
    assert "Traceback" in attnprobe("run", "difseg", "--debug")[2]

    def burst():
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("attnprobe.recipe.shipped.shipped", burst)
    status, _, err = attnprobe("recipes")
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith("error: unexpected ZeroDivisionError: by zero; --debug shows")
    assert "in burst" in attnprobe("recipes", "--debug")[2]


def test_components_are_listed_with_their_summary_and_package(attnprobe):
    status, out, _ = attnprobe("list")
    assert status == 0
    for kind in ("sources:", "aggregators:", "groupers:", "refiners:", "labellers:"):
        assert kind in out
    groupers = attnprobe("list", "groupers")[1]
    assert "sources:" not in groupers
    (line,) = [line for line in groupers.splitlines() if line.split()[0] == "diffseg"]
    assert "CVPR 2024" in line
    assert line.rstrip().endswith("attnprobe")


def test_shipped_recipes_are_listed_with_their_first_comment(attnprobe):
    status, out, _ = attnprobe("recipes")
    assert status == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert set(lines) >= {"diffseg", "diffseg-320", "diffseg-512"}
    assert "runs anywhere" in lines["diffseg"]


def test_ctrl_c_keeps_what_is_done_and_says_so(tmp_path):
    command = [sys.executable, "-m", "attnprobe", "run", "diffseg", "-o", "out"]
    process = subprocess.Popen(
        [*command, "--set", "images={use: scenes, count: 5000}"],
        env=ENVIRONMENT, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not list(tmp_path.glob("out/overlays/*.png")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    done = parquet.read_table(tmp_path / "out" / "scores.parquet").num_rows
    _, first, second = err.splitlines()
    assert first == f"stopped: {done} of 5000 images are done and kept in out"
    assert second.startswith("go on with: attnprobe run diffseg ")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["done"] == done
    assert not list(tmp_path.glob("out/**/.tmp*"))


def test_help_lists_every_command_under_what_one_does_with_it(attnprobe):
    from attnprobe.cli.root import SECTIONS, app

    known = sorted(typer.main.get_command(app).commands)
    assert sorted(name for names in SECTIONS.values() for name in names) == known
    status, out, _ = attnprobe("--help")
    assert status == 0
    assert not re.search(r"\.\.\.$", out.partition("Run:")[2], re.MULTILINE)  # none is cut short
    for title, names in SECTIONS.items():
        section = out.partition(f"\n{title}:\n")[2].partition("\n\n")[0]
        assert [line.split()[0] for line in section.splitlines()] == list(names)


def test_help_says_types_and_bounds_in_words(attnprobe):
    from attnprobe.cli.root import app

    root = typer.main.get_command(app).commands
    words = [[name] for name in root]
    words += [[name, inner] for name in root for inner in getattr(root[name], "commands", ())]
    assert ["data", "check"] in words
    for command in words:
        status, out, _ = attnprobe(*command, "-h")
        assert status == 0
        assert not re.search(
            r"<(str|path|int|list)|list\[|x[<>]=|<=x|\.\.\.$", out.partition("\n")[2]
        )


def test_a_mistyped_command_is_told_the_nearest(attnprobe):
    status, _, err = attnprobe("rnu")
    assert status == 2
    assert "'run'" in err


def test_a_setting_that_is_seldom_meant_is_told_once_and_no_other(tmp_path):
    """The report regroups at other thresholds, which nobody gave."""
    given = ["--set", "images={use: scenes, count: 1}", "--set", "probe.size=64"]
    result = python(
        *(
            "-m",
            "attnprobe",
            "run",
            "diffseg",
            *given,
            "--set",
            "group.thresholds=[0.5]",
            "--quiet",
        ),
        cwd=tmp_path,
    )
    assert result.returncode == 0
    assert re.findall(r"note: DiffSeg.thresholds: \[(.*?)\]", result.stderr) == ["0.5"]
