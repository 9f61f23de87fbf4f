"""What the README and the documentation's pages tell people to do, done."""

import contextlib
import io
import os
import re
import runpy
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
import typer
from PIL import Image
from sklearn.datasets import load_sample_image

from attnprobe import cli, registry
from attnprobe.errors import RecipeError
from attnprobe.recipe import load_recipe
from attnprobe.recipe.sweep import load_points

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]

FENCE = re.compile(
    r"^(?:<!-- (?P<mark>needs download|faulty|long) -->\n)?"
    r'```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)

SHOWN_ONLY = {"text", "bibtex", "toml"}
"""Languages of blocks that nothing is done with."""

LEFT_TO_CI = {"python3", ".venv/bin/pip", ".venv/bin/attnprobe", ".venv/bin/pytest"}
"""First words of the commands of a fresh clone."""


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    mark: str | None
    title: str | None

    @property
    def commands(self) -> list[list[str]]:
        """The arguments of each `attnprobe` command; in a console, those after a $."""
        lines = self.text.splitlines()
        if self.language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        words = [shlex.split(line, comments=True) for line in lines]
        assert {first for first, *_ in filter(None, words)} <= {"attnprobe", *LEFT_TO_CI}
        return [rest for first, *rest in filter(None, words) if first == "attnprobe"]

    @property
    def output(self) -> str:
        """What a console shows beside the commands."""
        lines = self.text.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("$ "))


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = [Block(**match.groupdict()) for match in FENCE.finditer(text)]
    assert len(re.findall("^ *```", text, re.MULTILINE)) == 2 * len(found), "a fence is not read"
    return found


def attnprobe(arguments: list[str]) -> tuple[int, str]:
    """Exit status, and what was printed."""
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        mock.patch.dict(os.environ),
        pytest.raises(SystemExit) as end,
    ):
        cli.main(arguments)
    return end.value.code, printed.getvalue()


def check_only(arguments: list[str]) -> None:
    """Read a command as it will be and load its recipe, but run nothing."""
    run = typer.main.get_command(cli.app).commands["run"]
    assert arguments[0] == "run"
    given = run.make_context("run", arguments[1:]).params
    options = {key: given[key] for key in ("images", "model", "device", "dtype")}
    load_recipe(given["recipe"], [*cli.run._overrides(**options), *(given["changes"] or [])])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory as the pages assume one: two photographs and a folder of them."""
    (tmp_path / "photos").mkdir()
    photo = Image.fromarray(load_sample_image("china.jpg")).resize((320, 213))
    for name in ("photo.jpg", "my.jpg", "photos/1.jpg"):
        photo.save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def module(monkeypatch):
    """A module to run a page's code in; what it registers is forgotten."""
    for kind in registry.KINDS:
        registry.entries(kind)
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page, folder, module):
    for block in blocks(page):
        match block.language, block.mark:
            case "python", None:
                code = compile(block.text, page.name, "exec", dont_inherit=True)
                exec(code, vars(module))
            case "yaml", mark:
                recipe = folder / (block.title or "recipe.yaml")
                recipe.write_text(block.text, encoding="utf-8")
                with pytest.raises(RecipeError) if mark else contextlib.nullcontext():
                    load_points(recipe)
            case "bash", None:
                for arguments in block.commands:
                    status, printed = attnprobe(arguments)
                    assert status == 0, printed
            case "bash", "needs download" | "long":
                for arguments in block.commands:
                    check_only(arguments)
            case "console", None:
                assert "".join(attnprobe(words)[1] for words in block.commands) == block.output
            case language, _:
                assert language in SHOWN_ONLY


def test_the_pages_that_the_code_knows_are_as_it_says():
    make = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))
    for name, page in make["PAGES"].items():
        written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
        assert written == page(), "python docs/make_reference.py"
