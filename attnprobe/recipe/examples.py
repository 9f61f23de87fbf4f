"""What could stand in the place of a value that can't: suggestions that are right if taken.

A suggestion is checked as it would be if it were taken; where none passes, none is made.
"""

from __future__ import annotations

import difflib
import os
from typing import Any

from pydantic import ValidationError

from attnprobe import registry
from attnprobe.models import ModelSpec
from attnprobe.models.presets import PRESETS
from attnprobe.recipe.keys import (
    adapter_of,
    dataclass_in,
    is_required,
    recipe_fields,
    strictly,
    type_hints,
)
from attnprobe.recipe.tree import Value


def list_example(hint: Any, value: Value) -> list[Any] | None:
    """The list that is meant by a scalar where a list is wanted, with as few entries as may be."""
    if value.data is None or isinstance(value.data, dict | list):
        return None
    for count in (1, 2):
        for data in (value.data, value.text):
            try:
                strictly(adapter_of(hint), [data] * count)
            except ValidationError:
                continue
            return [data] * count
    return None


def mapping_example(component: type, value: Value) -> dict[str, Any] | None:
    """The mapping of one key that is meant by a scalar where a section is wanted."""
    data = value.data
    if data is None or isinstance(data, dict | list):
        return None
    if component is ModelSpec:
        return _model(str(data))
    hints = type_hints(component)
    for field in recipe_fields(component):
        if dataclass_in(hints[field.name])[0] is None and _makes(component, {field.name: data}):
            return {field.name: data}
    return None


def component_example(kind: str, value: Value) -> dict[str, Any]:
    """The component that is meant where none is named: by name, by path, or by its keys."""
    found = {entry.name: entry.component for entry in registry.entries(kind)}
    data = value.data
    if isinstance(data, str):
        near = [data] if data in found else difflib.get_close_matches(data, found, n=1)
        if near:
            return _with_required(near[0], found[near[0]])
        if kind == "sources" and (os.path.sep in data or "." in data or os.path.exists(data)):
            return {"use": "folder", "path": data}
    given = set(data) if isinstance(data, dict) else set()
    fitting = [n for n, c in found.items() if given <= {field.name for field in recipe_fields(c)}]
    free = [n for n in fitting or found if not _required(found[n]) - given]
    name = next(iter(free or fitting or found), "name")
    return (
        {"use": name, **{key: item.plain() for key, item in data.items()}}
        if given
        else {"use": name}
    )


def _model(text: str) -> dict[str, Any]:
    if text in PRESETS:
        return {"preset": text}
    if os.path.sep in text or os.path.exists(text):
        return {"repo": text}
    return {"preset": next(iter(difflib.get_close_matches(text, PRESETS, n=1)), "tiny")}


def _with_required(name: str, component: type) -> dict[str, Any]:
    """A component by name, with a word in capitals for each key that must be given."""
    return {"use": name, **{key: key.upper() for key in sorted(_required(component))}}


def _required(component: type) -> set[str]:
    return {field.name for field in recipe_fields(component) if is_required(field)}


def _makes(component: type, given: dict[str, Any]) -> bool:
    hints = type_hints(component)
    try:
        component(**{key: strictly(adapter_of(hints[key]), data) for key, data in given.items()})
    except Exception:  # a component's own check, which a plug-in may write as it likes
        return False
    return True
