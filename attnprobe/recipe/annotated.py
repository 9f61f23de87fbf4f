"""A recipe in full, each value with the place it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from attnprobe.recipe.load import read_recipe
from attnprobe.recipe.overrides import Override
from attnprobe.recipe.reader import in_a_line
from attnprobe.recipe.shipped import folder
from attnprobe.recipe.sweep import load_points
from attnprobe.recipe.tree import NAMING, Faults, Value

DEFAULT = "default"
"""The origin of what nobody said."""

WIDEST = 60
"""Columns to the left of the origins; a longer line pushes its own."""

Line = tuple[str, str]
"""A line of YAML, and the origin of what it says."""


def annotated_yaml(path: str | Path, overrides: Iterable[str | Override] = ()) -> str:
    """A recipe as YAML with defaults filled in and, as comments, where each value comes from.

    It loads back as an equal recipe, or as equal points: what a sweep gives is left to the sweep.

    Raises:
        RecipeError: the recipe can't be read, or says what isn't allowed.
    """
    overrides = list(overrides)
    first = load_points(path, overrides)[0]
    given, _ = read_recipe(path, overrides, Faults())
    resolved = first.recipe.resolved()
    for key in first.values:
        _leave_to_sweep(resolved, given, key.split("."))
    lines = list(_mapping(resolved, given, ""))
    if "sweep" in given.data:
        lines.extend(_sweep(given.data["sweep"]))
    width = max(len(text) for text, origin in lines if origin and len(text) <= WIDEST)
    return "".join(f"{text:{width}}  # {o}\n" if o else f"{text}\n" for text, o in lines)


def _leave_to_sweep(resolved: Any, given: Value | None, path: list[str]) -> None:
    """Put what the recipe itself says in the place of what a point says, or nothing."""
    here, *rest = path
    inner = _inside(given, here)
    whole = not rest or rest[0] in NAMING or rest[0].isdigit()  # all of it hangs on that
    if not whole and here in resolved:
        _leave_to_sweep(resolved[here], inner, rest)
    elif inner is not None:
        resolved[here] = inner.plain()
    else:
        resolved.pop(here, None)


def _mapping(data: dict[str, Any], given: Value | None, indent: str) -> Iterator[Line]:
    for key, item in data.items():
        inner = _inside(given, key)
        if isinstance(item, dict) and item:
            yield f"{indent}{in_a_line(key)}:", ""
            yield from _mapping(item, inner, f"{indent}  ")
        elif isinstance(item, list) and item and all(isinstance(i, dict) and i for i in item):
            yield f"{indent}{in_a_line(key)}:", ""
            for number, entry in enumerate(item):
                yield from _entry(entry, _inside(inner, number), f"{indent}  ")
        else:
            yield f"{indent}{in_a_line(key)}: {in_a_line(item)}", _origin(inner)


def _entry(data: dict[str, Any], given: Value | None, indent: str) -> Iterator[Line]:
    """A mapping in a list: its first line has the dash."""
    for number, (text, origin) in enumerate(_mapping(data, given, f"{indent}  ")):
        yield (text if number else f"{indent}- {text[len(indent) + 2 :]}"), origin


def _sweep(given: Value) -> Iterator[Line]:
    """The sweep as it was said, a value a line."""
    yield "sweep:", ""
    for kind, axes in given.data.items():
        yield f"  {kind}:", ""
        for key, values in axes.data.items():
            yield f"    {in_a_line(key)}:", ""
            for value in values.data:
                yield f"      - {in_a_line(value.plain())}", _origin(value)


def _inside(given: Value | None, key: str | int) -> Value | None:
    """What was given under a key; one component may stand for a list of one, and the reverse."""
    data = given.data if given is not None else None
    if isinstance(data, list):
        if isinstance(key, int):
            return data[key] if key < len(data) else None
        return _inside(data[0], key) if len(data) == 1 else None
    if isinstance(data, dict):
        return given if key == 0 else data.get(key)
    return None


def _origin(given: Value | None) -> str:
    if given is None:
        return DEFAULT
    # Files have a line and a column, what the command line says has neither.
    place = re.sub(r"(:\d+):\d+$", r"\1", given.place)
    if Path(place).parent == folder():
        place = f"shipped {Path(place).name}"
    places = ["".join(c if c.isprintable() else " " for c in place)]
    if isinstance(given.data, list):  # of which the command line may have changed entries
        places += [item.place for item in given.data if item.place.startswith("--")]
    return ", ".join(dict.fromkeys(places))
