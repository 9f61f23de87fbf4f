"""YAML to values with their line and column, and plain data to YAML."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, NodeEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.representer import SafeRepresenter

from attnprobe.errors import RecipeError
from attnprobe.recipe.tree import Faults, Value

LARGEST = 1_000_000
"""Bytes of a recipe; more is refused unread."""

MOST_VALUES = 10_000
"""Values of a recipe, an anchor's counted each time it is used."""

DEEPEST = 32
"""Levels of a recipe."""

LONGEST_NUMBER = 1024
"""Bits of a whole number; Python itself prints no longer ones than some 14,000."""

_TAG = "tag:yaml.org,2002:"

Place = Callable[[int, int], str]
"""Line and column, both from 1, to the words for a place."""


def read_file(path: Path, faults: Faults) -> Value:
    """Read a recipe's file; faults that leave something to be checked further are only noted.

    Raises:
        RecipeError: it can't be read, or is no YAML mapping.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise RecipeError(f"{path}: a recipe is a file; this is not one")
        if size > LARGEST:
            raise RecipeError(f"{path}: {size:,} bytes; a recipe has at most {LARGEST:,}")
        data = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{path}: can't be read: {error.strerror or error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            f"{path}:{line}: not UTF-8 text (byte {data[error.start]:#04x}); save it as UTF-8"
        ) from None
    value = read_yaml(text, lambda line, column: f"{path}:{line}:{column}", faults)
    if value.data is None:
        raise RecipeError(f"{path}: the recipe is empty; it needs keys such as model and group")
    if not isinstance(value.data, dict):
        raise RecipeError(f"{value.place}: a recipe is a mapping of keys such as model and group")
    return value


def read_yaml(text: str, place: Place, faults: Faults) -> Value:
    """Read YAML text.

    Raises:
        RecipeError: it is no YAML, or larger or deeper than a recipe may be.
    """
    try:
        _check_extent(text, place)
        yaml = YAML(typ="safe", pure=True)
        yaml.composer.warn_double_anchors = False
        node = yaml.compose(text)
    except MarkedYAMLError as error:
        raise RecipeError(_syntax(error, text, place)) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        sentence = f"not valid YAML: the character {chr(error.character)!r} is not allowed"
        raise RecipeError(f"{place(line, 1)}: {sentence}") from None
    except (YAMLError, ValueError) as error:
        what = " ".join(str(error).split())
        raise RecipeError(f"{place(1, 1)}: not valid YAML: {what}") from None
    if node is None:
        return Value(None, place(1, 1), place(1, 1), text="")
    return _Builder(yaml, place, faults).build(node)


def _check_extent(text: str, place: Place) -> None:
    """Count before anything is built: the parser needs little memory and no recursion."""
    count = depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        count += isinstance(event, NodeEvent)
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if count > 2 * MOST_VALUES or depth > DEEPEST:
            where = place(event.start_mark.line + 1, event.start_mark.column + 1)
            raise RecipeError(f"{where}: {_TOO_LARGE}")


_TOO_LARGE = (
    f"a recipe has at most {MOST_VALUES:,} values, anchors counted in full, and {DEEPEST} levels"
)


def _syntax(error: MarkedYAMLError, text: str, place: Place) -> str:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    lines = text.splitlines()
    for number in (line, line - 1):
        if 0 < number <= len(lines) and re.match(r" *\t", lines[number - 1]):
            return f"{place(number, 1)}: a tab in the indentation; YAML wants spaces"
    problem = error.problem or ""
    for said, at_context, plain in _PLAIN_WORDS:
        if said in problem:
            mark = (error.context_mark if at_context else None) or mark
            where = place(mark.line + 1, mark.column + 1) if mark else place(1, 1)
            return f"{where}: not valid YAML: {plain.format(problem=problem)}"
    what = " ".join("; ".join(part for part in (error.context, problem) if part).split())
    return f"{place(line, column)}: not valid YAML: {what}"


_PLAIN_WORDS = [
    ("expected ',' or ']'", True, "this [ isn't closed, or a comma is missing after it"),
    ("expected ',' or '}'", True, "this {{ isn't closed, or a comma is missing after it"),
    ("could not find expected ':'", True, "a key wants a colon and a space after it"),
    ("mapping values are not allowed", False, "no colon can be here; is the line indented as those "
     "around it? text with a colon in it needs quotes"),
    ("expected <block end>", False, "this line isn't indented as those around it"),
    ("undefined alias", False, "{problem}; text that begins with * needs quotes"),
    ("cannot start any token", False, "{problem}; text that begins so needs quotes"),
]  # fmt: skip
"""What ruamel.yaml finds, whether the place is where it began, and plain words for it."""


class _Builder:
    """Nodes to values; notes every fault and goes on."""

    def __init__(self, yaml: YAML, place: Place, faults: Faults) -> None:
        self._faults = faults
        self._place = place
        self._count = 0
        construct = yaml.constructor
        self._scalars = {
            _TAG + "null": construct.construct_yaml_null,
            _TAG + "bool": construct.construct_yaml_bool,
            _TAG + "int": construct.construct_yaml_int,
            _TAG + "float": construct.construct_yaml_float,
        }

    def build(self, node: Node, key: Node | None = None, path: tuple[str, ...] = ()) -> Value:
        self._count += 1
        empty = node.start_mark.index == node.end_mark.index
        place = self._at(key if key and empty else node)
        if self._count > MOST_VALUES or len(path) > DEEPEST:
            raise RecipeError(f"{place}: {_TOO_LARGE}")
        key_place = self._at(key) if key else place
        if isinstance(node, ScalarNode):
            data, text = self._scalar(node, ".".join(path))
            return Value(data, place, key_place, text)
        if isinstance(node, SequenceNode):
            items = [self.build(item, None, (*path, str(i))) for i, item in enumerate(node.value)]
            return Value(items, place, key_place)
        assert isinstance(node, MappingNode)
        return Value(self._mapping(node, path), place, key_place)

    def _at(self, node: Node) -> str:
        return self._place(node.start_mark.line + 1, node.start_mark.column + 1)

    def _mapping(self, node: MappingNode, path: tuple[str, ...]) -> dict[str, Value]:
        data: dict[str, Value] = {}
        for key, item in node.value:
            if not isinstance(key, ScalarNode) or not _is_text(key.value):
                self._faults.add(self._at(key), ".".join(path), "a key must be a word")
                continue
            inner = (*path, key.value)
            if key.value in data:
                first = data[key.value].key_place
                self._faults.add(self._at(key), ".".join(inner), f"given twice; first at {first}")
            else:
                data[key.value] = self.build(item, key, inner)
        return data

    def _scalar(self, node: ScalarNode, path: str) -> tuple[Any, str | None]:
        """The scalar, and how it was written if it is not text already."""
        text, tag = node.value, str(node.tag)
        if not _is_text(text):
            self._faults.add(self._at(node), path, "half of a surrogate pair is no text")
            return None, None
        construct = self._scalars.get(tag)
        if construct is None:
            if tag not in _AS_TEXT:
                tag = tag.replace(_TAG, "!!")
                self._faults.add(self._at(node), path, f"the tag {tag} isn't allowed in a recipe")
            return text, None
        try:
            data = construct(node)
            if isinstance(data, int) and data.bit_length() > LONGEST_NUMBER:
                raise ValueError("nobody could print it")
        except (ValueError, IndexError, KeyError):
            kind = tag.removeprefix(_TAG)
            self._faults.add(self._at(node), path, f"{text[:40]!r} can't be read as {kind}")
            return None, None
        return data, None if data is None and text else text


_AS_TEXT = {_TAG + tag for tag in ("str", "timestamp", "merge", "value")}


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Representer(SafeRepresenter):
    """Text with other than printable characters is escaped: as it is, not all of it reads back.

    A question mark in front is quoted, for in brackets it begins a mapping's key.
    """

    def represent_str(self, data: str) -> ScalarNode:
        style = None if data.isprintable() and not data.startswith("?") else '"'
        return self.represent_scalar(_TAG + "str", data, style=style)


_Representer.add_representer(str, _Representer.represent_str)


def to_yaml(data: Any) -> str:
    """Plain data as YAML, in the order given, innermost mappings and lists on one line."""
    return _written(data, flow=None, width=100)


def in_a_line(data: Any) -> str:
    """Plain data as YAML on a single line, to stand after a key."""
    # In braces, text is quoted that would not be text after a key.
    return _written({"k": data}, flow=True, width=2**31).strip().removeprefix("{k: ")[:-1]


def _written(data: Any, flow: bool | None, width: int) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = flow
    yaml.representer.sort_base_mapping_type_on_output = False
    yaml.width = width
    stream = io.StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()
