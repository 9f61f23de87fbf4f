"""The recipes that come with the package."""

from __future__ import annotations

import os
from pathlib import Path

from attnprobe.errors import RecipeError, did_you_mean
from attnprobe.files import write_whole
from attnprobe.recipe.reader import read_file
from attnprobe.recipe.tree import Faults

MODELINE = "# yaml-language-server:"
"""How a comment begins that tells an editor the schema; the schema lies beside ours."""


def folder() -> Path:
    """Where they lie: in the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def shipped() -> dict[str, Path]:
    """Name to file, by name."""
    return dict(sorted((path.stem, path) for path in folder().glob("*.yaml")))


def first_comment(path: Path) -> str:
    """The first line of the comment at the recipe's head, or nothing."""
    line = path.read_text(encoding="utf-8").partition("\n")[0]
    return line.lstrip("# ") if line.startswith("#") else ""


def copy_shipped(name: str, to: Path | None = None) -> list[Path]:
    """Copy a shipped recipe, with the one that it extends, and without the editor's line.

    Args:
        name: of the recipe.
        to: the copy's file, or a folder for it; the working directory by default.

    Returns:
        The files that were written; a base that is there already, as it should be, is none.

    Raises:
        RecipeError: there is no such recipe, or another file has the place of a copy.
    """
    name = name.removesuffix(".yaml")
    if name not in shipped():
        raise RecipeError(f"no recipe {name!r} is shipped{did_you_mean(name, list(shipped()))}")
    source = shipped()[name]
    target = to if to is not None and not to.is_dir() else (to or Path()) / source.name
    copies = {target: _without_modeline(source)}
    base = read_file(source, Faults()).data.get("extends")
    if base is not None:
        beside = target.parent / base.data
        text = _without_modeline(source.parent / base.data)
        if not (beside.is_file() and beside.read_bytes() == text.encode()):
            copies = {beside: text, **copies}
    for path in copies:
        if os.path.lexists(path):
            raise RecipeError(f"{path}: is there already; name another place for the copy")
    for path, text in copies.items():
        with write_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return list(copies)


def _without_modeline(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(MODELINE))
