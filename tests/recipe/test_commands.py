"""The commands about recipes, as a user gives them."""

import json
import os
import subprocess
import sys

import pytest

from attnprobe.cli import main
from attnprobe.recipe import load_points
from attnprobe.recipe.shipped import folder
from tests.recipe.conftest import RECIPE


@pytest.fixture
def attnprobe(tmp_path, monkeypatch, capsys):
    """Run the command line in an empty folder; exit status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def attnprobe(*arguments):
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return attnprobe


def test_validate_checks_every_point(attnprobe, write):
    write(f"{RECIPE}sweep: {{grid: {{group.anchors: [8, 4]}}}}\n", "good.yaml")
    write(f"{RECIPE}sweep: {{grid: {{group.anchors: [8, 0]}}}}\n", "bad.yaml")
    assert attnprobe("validate", "good.yaml") == (0, "good.yaml: ok, 2 points\n", "")
    status, out, err = attnprobe("validate", "bad.yaml")
    assert (status, out) == (2, "")
    assert err.startswith("error: bad.yaml:9:35: group.anchors: must be greater than")


def test_show_prints_a_recipe_that_loads(attnprobe, tmp_path):
    status, out, err = attnprobe("show", "tau-sweep", "--set", "group.anchors=8")
    assert (status, err) == (0, "")
    (tmp_path / "shown.yaml").write_text(out)
    assert load_points("shown.yaml") == load_points("tau-sweep", ["group.anchors=8"])
    assert "  # --set group.anchors=8\n" in out


def test_describe_and_list(attnprobe):
    status, out, err = attnprobe("describe", "diffseg")
    assert (status, err) == (0, "")
    assert out.startswith("groupers.diffseg (attnprobe)\nIterative merging of attention maps")
    status, out, err = attnprobe("describe", "groupers.difseg")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "did you mean groupers.diffseg" in err


def test_schema_is_printed_or_written_whole(attnprobe, tmp_path):
    status, out, _ = attnprobe("schema")
    assert status == 0
    assert json.loads(out)["title"] == "attnprobe recipe, format 1"
    assert attnprobe("schema", "-o", "recipe.schema.json") == (0, "", "")
    assert (tmp_path / "recipe.schema.json").read_text() == out
    status, out, err = attnprobe("schema", "-o", "none/recipe.schema.json")
    assert (status, out) == (2, "")
    assert err == "error: none/recipe.schema.json: can't be written: No such file or directory\n"


def test_recipes_lists_and_copies(attnprobe, tmp_path):
    status, out, _ = attnprobe("recipes")
    assert status == 0
    assert {"diffseg", "tau-sweep", "folder-of-photos"} <= {s.split()[0] for s in out.splitlines()}
    assert attnprobe("recipes", "copy", "tau-sweep") == (0, "diffseg.yaml\ntau-sweep.yaml\n", "")
    status, out, err = attnprobe("recipes", "copy", "diffseg")
    assert (status, out) == (2, "")
    assert err == "error: diffseg.yaml: is there already; name another place for the copy\n"


def test_help_imports_nothing_heavy(tmp_path):
    command = [sys.executable, "-X", "importtime", "-m", "attnprobe", "recipes", "copy", "--help"]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(folder().parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "attnprobe.cli.recipes" in imported
    assert not imported & {"torch", "numpy", "ruamel.yaml", "attnprobe.recipe"}
