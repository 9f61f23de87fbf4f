"""A recipe as it was read: plain values that know their place, and how one goes over another."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from attnprobe.errors import RecipeError

NAMING = ("use", "preset", "repo", "protocol")
"""Keys that say which thing a section is about; its other keys belong to that thing."""


LONGEST_LINE = 1000
"""Characters of a fault's line; what is longer quotes something absurd."""


@dataclass(frozen=True)
class Value:
    """A value and where it stands.

    Args:
        data: a dict from text to `Value`, a list of `Value`, or a scalar.
        place: "file:line:column", or the command line's words.
        key_place: the place of the key it stands under; without a key, its own.
        text: how a scalar was written, where that may also be taken as text.
    """

    data: Any
    place: str
    key_place: str
    text: str | None = None

    def plain(self) -> Any:
        """The data alone."""
        if isinstance(self.data, dict):
            return {key: item.plain() for key, item in self.data.items()}
        if isinstance(self.data, list):
            return [item.plain() for item in self.data]
        return self.data

    def at(self, path: tuple[str | int, ...]) -> Value:
        """The value at a path of keys and indices that exist."""
        value = self
        for part in path:
            value = value.data[part]
        return value


class Faults(list[str]):
    """All that is wrong with a recipe, a line each: place, path of keys, sentence."""

    def add(self, place: str, path: str, sentence: str) -> None:
        """Note a fault; the same one is noted once."""
        line = ": ".join(part for part in (place, path, sentence) if part)
        if len(line) > LONGEST_LINE:
            line = f"{line[:LONGEST_LINE]}…"
        if line not in self:
            self.append(line)

    def settle(self) -> None:
        """Raise a RecipeError of all lines, if there are any, each file's from top to bottom."""
        if self:
            raise RecipeError("\n".join(self._in_order()))

    def _in_order(self) -> list[str]:
        files: dict[str, int] = {}

        def place(line: str) -> tuple[int, ...]:
            at = re.match(r"(.*?):(\d+):(\d+): ", line)
            file, *position = at.groups() if at else (line,)
            return (files.setdefault(file, len(files)), *map(int, position))

        return sorted(self, key=place)


def merged(base: Value, change: Value) -> Value:
    """`base` with the keys of `change` over it, mappings within mappings too.

    A section whose `use`, `preset`, `repo` or `protocol` becomes another one starts afresh, for
    the keys of one component mean nothing to the next. Lists and scalars are replaced whole.
    """
    if not (isinstance(base.data, dict) and isinstance(change.data, dict)):
        return change
    data = {} if _names_another(base, change) else dict(base.data)
    for key, item in change.data.items():
        data[key] = merged(data[key], item) if key in data else item
    return replace(change, data=data)


def _names_another(base: Value, change: Value) -> bool:
    return any(
        key in change.data
        and (key not in base.data or base.data[key].plain() != change.data[key].plain())
        for key in NAMING
    )


def put(base: Value, path: tuple[str, ...], change: Value) -> Value:
    """`base` with `change` over the value at `path`; a list's entries are counted from 0.

    Raises:
        RecipeError: the path goes into a list by something that is no index of it.
    """
    if not path:
        return merged(base, change)
    head, rest = path[0], path[1:]
    if isinstance(base.data, list):
        count = len(base.data)
        if not (head.isascii() and head.isdigit() and int(head) < count):
            allowed = f"0 to {count - 1}" if count else "none, for it is empty"
            raise RecipeError(f"{change.place}: {head!r} is no index of a list; allowed: {allowed}")
        items = [put(v, rest, change) if str(i) == head else v for i, v in enumerate(base.data)]
        return replace(base, data=items)
    if isinstance(base.data, dict) and head in base.data:
        inner = put(base.data[head], rest, change)
    else:
        inner = put(replace(change, data={}), rest, change)
    outer = replace(change, data={head: inner}, text=None)
    if isinstance(base.data, dict) and not _names_another(base, outer):
        outer = replace(outer, place=base.place, key_place=base.key_place)
    return merged(base, outer)
