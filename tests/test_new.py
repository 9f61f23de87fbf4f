"""`attnprobe new`: what it writes is installed, tested, listed and run as a stranger's would be."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from attnprobe import AttnProbeError
from attnprobe.cli import main
from attnprobe.templates import write_package

PAGES = Path(__file__).parents[1] / "docs" / "howto"

KINDS = ("source", "aggregator", "grouper", "refiner", "labeller")

RUN = """
import sys
from attnprobe.cli import main
for number, recipe in enumerate(sys.argv[1:]):
    small = ["--set", "images.count=1", "--set", "probe.size=64"]
    try:
        main(["run", recipe, "--quiet", "--no-cache", "-o", f"run-{number}", *small])
    except SystemExit as end:
        assert end.code == 0, recipe
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The folder in which a package of each kind was written."""
    folder = tmp_path_factory.mktemp("packages")
    for kind in KINDS:
        write_package(kind, f"my_{kind}", folder / f"my_{kind}")
    return folder


@pytest.fixture(scope="module")
def stranger(packages, tmp_path_factory):
    """Runs a command where the packages are installed, and gives back what it printed."""
    site = tmp_path_factory.mktemp("site")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", site]
    folders = [packages / f"my_{kind}" for kind in KINDS]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, *folders], check=True)

    def called(*command):
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=packages,
            env={**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return called


def test_its_own_test_passes(packages, stranger):
    tests = [packages / f"my_{kind}" / "tests" / f"test_my_{kind}.py" for kind in KINDS]
    assert "5 passed" in stranger("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)


def test_it_is_listed_beside_ours(stranger):
    listed = [line.split() for line in stranger("-m", "attnprobe", "list").splitlines()]
    for kind in KINDS:
        [line] = [words for words in listed if words[0] == f"my_{kind}"]
        assert line[-1] == f"my_{kind}"  # the package, last in the line


def test_its_recipe_runs_and_scores(packages, stranger):
    recipes = [packages / f"my_{kind}" / "recipe.yaml" for kind in KINDS]
    runs = stranger("-c", RUN, *recipes).split()
    assert runs == [f"run-{number}" for number in range(len(KINDS))]
    for number, kind in enumerate(KINDS):
        folder = packages / f"run-{number}"
        assert f"use: my_{kind}" in (folder / "recipe.yaml").read_text()
        assert len(list((folder / "labels").iterdir())) == 1
        assert "miou" in (folder / "summary.json").read_text().lower()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_in_good_form(packages, kind):
    for command in (["check", "--select", "E,F,I,B,UP,SIM,RUF,NPY,D1"], ["format", "--check"]):
        rules = ["--isolated", "--line-length", "100", "--no-cache", "--exclude", "tests"]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *rules],
            cwd=packages / f"my_{kind}",
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_component_is_short(packages, kind):
    """About twenty lines, docstrings apart."""
    source = (packages / f"my_{kind}" / "src" / f"my_{kind}" / "__init__.py").read_text()
    [component] = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    texts = [n for n in ast.walk(component) if isinstance(n, ast.Constant) and "\n" in str(n.value)]
    inside = {line for text in texts for line in range(text.lineno, text.end_lineno + 1)}
    lines = range(component.lineno, component.end_lineno + 1)
    assert len([line for line in lines if line not in inside]) <= 22


@pytest.mark.parametrize(
    ("kind", "name", "page"),
    [("grouper", "my_factors", "grouper.md"), ("aggregator", "my_fold", "component.md")],
)
def test_the_page_about_it_shows_what_is_written(tmp_path, kind, name, page):
    write_package(kind, name, tmp_path / name)
    source = (tmp_path / name / "src" / name / "__init__.py").read_text()
    component = source[source.index(f"@ap.{kind}") :]
    assert component in (PAGES / page).read_text(encoding="utf-8")


def test_the_command_says_what_it_wrote(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["new", "grouper", "my_method"])
    assert not end.value.code
    printed = capsys.readouterr().out.split()
    found = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()]
    assert sorted(printed) == sorted(found)
    assert "my_method/src/my_method/__init__.py" in printed


@pytest.mark.parametrize(
    ("kind", "name", "to", "sentence"),
    [
        ("gruper", "mine", "new", "unknown kind 'gruper'; did you mean grouper"),
        ("grouper", "My-Method", "new", "must be of small letters.*Got 'My-Method' instead"),
        ("grouper", "_mine", "new", "must be of small letters.*Got '_mine' instead"),
        ("grouper", "lambda", "new", "no word of Python's. Got 'lambda' instead"),
        ("grouper", "diffseg", "new", "grouper 'diffseg' is there already: attnprobe.group.diffs"),
        ("grouper", "numpy", "new", "a Python module 'numpy' is there already"),
        ("grouper", "mine", "taken", "taken: is there already; name another place"),
        ("grouper", "mine", "no/where", "where: can't be written: No such file"),
    ],
)
def test_what_can_not_be_written_is_told_and_leaves_nothing(tmp_path, kind, name, to, sentence):
    (tmp_path / "taken").mkdir()
    with pytest.raises(AttnProbeError, match=sentence):
        write_package(kind, name, tmp_path / to)
    assert [path.name for path in tmp_path.rglob("*")] == ["taken"]


def test_a_disk_that_is_full_leaves_nothing(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(AttnProbeError, match="mine: can't be written: No space left on device"):
        write_package("grouper", "mine", tmp_path / "mine")
    assert not list(tmp_path.iterdir())
