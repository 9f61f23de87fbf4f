"""The labels of a sweep's points: what is special about each, short enough for a folder's name."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from attnprobe.recipe.tree import NAMING

LONGEST = 80
"""Characters of a label."""


def labels_of(keys: Sequence[str], points: Sequence[Sequence[Any]]) -> list[str]:
    """A label a point: its number, which makes it unique, and what is swept in short.

    Args:
        keys: that are swept.
        points: for each the keys' values, as plain data.
    """
    names = _short_names(keys)
    columns = [_told_apart(values) for values in zip(*points, strict=True)]
    width = max(2, len(str(len(points))))
    labels = []
    for number, values in enumerate(zip(*columns, strict=True), start=1):
        said = [f"{name}={value}" for name, value in zip(names, values, strict=True)]
        label = re.sub(r"[^\w.+=-]+", "_", "-".join([f"{number:0{width}}", *said]), flags=re.ASCII)
        labels.append(label[:LONGEST].rstrip("_.-="))
    return labels


def _short_names(keys: Sequence[str]) -> list[str]:
    """Each key from its last word on (an index is none); whole where two would be the same."""
    short = [re.sub(r"^.*\.(?=[^.]*[^.\d])", "", key) for key in keys]
    return [s if short.count(s) == 1 else key for s, key in zip(short, keys, strict=True)]


def _told_apart(values: Sequence[Any]) -> list[str]:
    """Values in short, those that would look the same with as many of their keys as it takes."""
    alike: dict[str, dict[str, Any]] = {}
    for value in values:
        alike.setdefault(_in_short(value), {})[json.dumps(value)] = value
    said: dict[str, str] = {}
    for different in alike.values():
        said |= dict(zip(different, _apart(list(different.values())), strict=True))
    return [said[json.dumps(value)] for value in values]


def _apart(values: list[Any]) -> list[str]:
    """Different values that are the same in short."""
    if len(values) == 1:
        return [_in_short(values[0])]
    mappings = [value for value in values if isinstance(value, dict)]
    keys = list(dict.fromkeys(key for value in mappings for key in value if key not in NAMING))
    for count in range(1, len(keys) + 1):
        shown = (*NAMING, *keys[:count])
        said = [_at_length({k: v[k] for k in v if k in shown}) for v in mappings]
        if len(set(said)) == len(values):
            return said
    return [_at_length(value) for value in values]


def _in_short(data: Any) -> str:
    """A value in a label: of a component its name, of equal list entries one."""
    if isinstance(data, dict):
        named = [data[key] for key in NAMING if key in data]
        return _in_short(named[0]) if named else _at_length(data)
    if isinstance(data, list):
        parts = [_in_short(item) for item in data]
        return parts[0] if len(set(parts)) == 1 else "_".join(parts) or "none"
    return data if isinstance(data, str) else json.dumps(data)


def _at_length(data: Any) -> str:
    """A value in a label: of a component its name and the keys given, of a list all entries."""
    if isinstance(data, dict):
        said = {key: _at_length(value) for key, value in data.items()}
        return "_".join(value if key in NAMING else f"{key}={value}" for key, value in said.items())
    if isinstance(data, list):
        return "_".join(map(_at_length, data)) or "none"
    return data if isinstance(data, str) else json.dumps(data)
