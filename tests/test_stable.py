"""The page on what is stable says what the code has."""

import re
from pathlib import Path

import pytest

import attnprobe
from attnprobe import hooks, registry, testing
from attnprobe.errors import RunError
from attnprobe.hooks import header, recorders, storage
from attnprobe.recipe import json_schema
from attnprobe.run import folder, forms

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "stable.md").read_text(encoding="utf-8")


def words(start: str) -> list[str]:
    """The names in code of the line that starts so."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(start)]
    return re.findall(r"`([^`]+)`", line)


def test_the_names():
    assert words("- All of `attnprobe`") == ["attnprobe", *attnprobe.__all__]
    assert words("- All of `attnprobe.testing`") == ["attnprobe.testing", *testing.__all__]
    assert words("- The entry points") == [f"attnprobe.{kind}" for kind in registry.KINDS]


def test_every_recorder_is_public_described_and_read_from_files():
    ours = {
        name
        for name in recorders.__all__
        if isinstance(cls := getattr(recorders, name), type) and cls is not recorders.Recorder
    }
    reference = (DOCS / "reference" / "hooks.md").read_text(encoding="utf-8")
    assert ours <= {*attnprobe.__all__} & {*hooks.__all__}
    assert ours == set(header.RECORDERS)
    assert {name for name in ours if f"::: attnprobe.hooks.{name}\n" not in reference} == set()


def test_the_keys_and_files():
    said = words("The keys of a recipe")
    keys, files = said[: said.index("seed") + 1], said[said.index("seed") + 1 :]
    assert set(keys) == set(json_schema.recipe_schema()["properties"])
    names = [value for name, value in vars(folder).items() if name.isupper() and name[0] != "_"]
    written = {name for name in names if isinstance(name, str) and "." in name}
    assert {name for name in files if not name.endswith("/")} == written
    folders = {*folder._KINDS, folder.POINTS}
    assert {name[:-1] for name in files if name.endswith("/")} == folders


def test_the_formats():
    assert f"| recipes | {json_schema.FORMAT} |" in PAGE
    assert json_schema.recipe_schema()["title"].endswith(f"format {json_schema.FORMAT}")
    assert f"| a run's folder | {forms.FORMAT} |" in PAGE
    assert f"`{storage._FORMAT}`" in PAGE


def test_a_folder_of_a_later_format_is_refused(tmp_path):
    (tmp_path / folder.ENVIRONMENT).write_text(f'{{"format": {forms.FORMAT + 1}}}')
    with pytest.raises(RunError, match=r"environment.json: is of another form: format: "):
        folder.RunFolder(tmp_path).environment()
