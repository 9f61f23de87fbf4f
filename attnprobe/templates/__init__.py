"""Packages for new components, written from the templates beside this file."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import tempfile
from pathlib import Path
from string import Template

from attnprobe import registry
from attnprobe.errors import AttnProbeError, ComponentError, did_you_mean

_HERE = Path(__file__).parent

_FILES = {
    "README.md": "common/README.md",
    "pyproject.toml": "common/pyproject.toml",
    "recipe.yaml": "{kind}/recipe.yaml",
    "src/{name}/__init__.py": "{kind}/component.py",
    "tests/test_{name}.py": "common/test.py",
}
"""Files of a package, and the templates they are written from."""


def write_package(kind: str, name: str, to: Path | None = None) -> list[Path]:
    """Write a package with a component that works, its test and a recipe.

    Args:
        kind: ``grouper``, ``aggregator``, ``refiner``, ``labeller`` or ``source``.
        name: of the component and of the package.
        to: the package's folder; by default one called `name` in the working directory.

    Returns:
        The files that were written.

    Raises:
        ComponentError: the kind is unknown, or the name is no package's or is taken.
        AttnProbeError: the folder is there already, or can't be written.
    """
    kinds = [plural.removesuffix("s") for plural in registry.KINDS]
    if kind not in kinds:
        raise ComponentError(f"unknown kind {kind!r}{did_you_mean(kind, kinds)}")
    folder = Path(name) if to is None else to
    _check_name(name)
    if os.path.lexists(folder):
        raise AttnProbeError(f"{folder}: is there already; name another place for the package")
    _check_free(kind, name)
    words = {"kind": kind, "name": name, "class_name": _class_name(kind, name)}
    texts = {
        path.format(**words): _template(source.format(**words)).substitute(words)
        for path, source in _FILES.items()
    }
    try:
        _write(folder, texts)
    except OSError as error:
        reason = error.strerror or error
        raise AttnProbeError(f"{folder}: can't be written: {reason}") from error
    return [folder / path for path in texts]


def _check_name(name: str) -> None:
    """That it can name a package, a module and a component alike."""
    if not re.fullmatch(r"[a-z]([a-z0-9_]*[a-z0-9])?", name) or keyword.iskeyword(name):
        raise ComponentError(
            "a component's name must be of small letters, digits and underscores, such as "
            f"my_method, and no word of Python's. Got {name!r} instead."
        )


def _check_free(kind: str, name: str) -> None:
    """That neither a component of that kind nor a module has the name."""
    for entry in registry.entries(f"{kind}s"):
        if entry.name == name:
            raise ComponentError(f"the {kind} {name!r} is there already: {entry.place}")
    if importlib.util.find_spec(name) is not None:
        raise ComponentError(f"a Python module {name!r} is there already; take another name")


def _class_name(kind: str, name: str) -> str:
    """The kind is part of it, so that it is no name that the template imports."""
    return "".join(part.capitalize() for part in [*name.split("_"), kind])


def _template(name: str) -> Template:
    return Template((_HERE / f"{name}.template").read_text(encoding="utf-8"))


def _write(folder: Path, texts: dict[str, str]) -> None:
    """Write all files beside the folder's place, then move them there at once."""
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder.parent) as scratch:
        for path, text in texts.items():
            file = Path(scratch, "package", path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        os.rename(Path(scratch, "package"), folder)
