"""A component or a section of recipes in words: what it is, and each of its keys."""

from __future__ import annotations

import difflib
import json
import textwrap
from dataclasses import Field, dataclass
from typing import Any

from attnprobe import registry
from attnprobe.errors import RecipeError, did_you_mean
from attnprobe.hooks.layers import Layers
from attnprobe.recipe.docstring import Docstring
from attnprobe.recipe.json_schema import SECTIONS, Schema, default, leaf
from attnprobe.recipe.keys import dataclass_in, is_required, recipe_fields, type_hints
from attnprobe.recipe.reader import in_a_line

NESTED = {"probe.layers": Layers}
"""Sections within sections."""

WIDTH = 88
"""Characters of a line."""


@dataclass(frozen=True)
class Key:
    """A key of a component.

    Args:
        name: as a recipe says it.
        takes: its type and constraints in words.
        default: its default as YAML, or None if it must be given.
        meaning: a sentence from the component's docstring.
    """

    name: str
    takes: str
    default: str | None
    meaning: str


def describe(name: str) -> str:
    """All about a component (`groupers.kmeans`, or `kmeans` if only one is called so) or section.

    Raises:
        RecipeError: there is none of that name, or several; the nearest or all are told.
    """
    title, component, package = _named(name)
    said = Docstring.of(component)
    lines = [f"{title}{package and f' ({package})'}", *_wrapped(said.summary)]
    for paragraph in filter(None, said.more.split("\n\n")):
        lines += ["", *_wrapped(" ".join(paragraph.split()))]
    found = keys(component)
    lines += ["", "keys:" if found else "no keys"]
    for key in found:
        must = "must be given" if key.default is None else f"default: {key.default}"
        lines += _wrapped(f"{key.name}: {key.takes}; {must}", "  ")
        lines += _wrapped(key.meaning, "      ")
    return "\n".join(lines) + "\n"


def keys(component: type) -> list[Key]:
    """The keys of a component, in order."""
    hints, texts = type_hints(component), Docstring.of(component).keys
    found = []
    for field in recipe_fields(component):
        inner, _ = dataclass_in(hints[field.name])
        takes = "a mapping of keys" if inner else in_words(leaf(hints[field.name]))
        found.append(Key(field.name, takes, _default(field), texts.get(field.name, "")))
    return found


def in_words(schema: Schema) -> str:
    """What a schema allows, such as "a whole number, at least 1"."""
    if "anyOf" in schema:
        return " or ".join(map(in_words, schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return " or ".join(map(_quoted, schema.get("enum", [schema.get("const")])))
    kind = schema.get("type", "anything")
    if kind == "array":
        return _list_in_words(schema)
    noun = _NOUNS["string" if isinstance(kind, list) else kind]
    return ", ".join([noun, *(f"{words} {schema[k]}" for k, words in _BOUNDS if k in schema)])


_NOUNS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "null": "nothing",
    "object": "a mapping of keys",
    "anything": "anything",
}

_BOUNDS = [
    ("minimum", "at least"),
    ("exclusiveMinimum", "greater than"),
    ("maximum", "at most"),
    ("exclusiveMaximum", "less than"),
    ("multipleOf", "a multiple of"),
]


def _default(field: Field[Any]) -> str | None:
    if is_required(field):
        return None
    value = default(field)
    return "nothing" if value is None else in_a_line(value)


def _list_in_words(schema: Schema) -> str:
    if "prefixItems" in schema:
        return f"[{', '.join(map(in_words, schema['prefixItems']))}]"
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    count = f" of at least {least}" if least else ""
    if most is not None:
        count = f" of {least}" if least == most else f" of {least} to {most}"
    items = schema.get("items")
    return f"a list{count}" + (f", each {in_words(items)}" if items else "")


def _quoted(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


def _named(name: str) -> tuple[str, type, str]:
    """The full name, class and package of what is meant."""
    known: dict[str, tuple[type, str]] = {key: (c, "") for key, c in {**SECTIONS, **NESTED}.items()}
    for kind in registry.KINDS:
        known |= {f"{kind}.{e.name}": (e.component, e.package) for e in registry.entries(kind)}
    meant = [name] if name in known else [f for f in known if f.endswith(f".{name}") and name]
    if len(meant) == 1:
        return (meant[0], *known[meant[0]])
    if meant:
        raise RecipeError(f"{name!r} is several: {', '.join(meant)}; say which")
    short = {full.rpartition(".")[2]: full for full in known}
    near = difflib.get_close_matches(name, [*known, *short], n=1)
    meant = [short.get(word, word) for word in near] or [name]
    hint = did_you_mean(meant[0], list(known))
    raise RecipeError(f"there is no {name!r} to describe{hint}")


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent and f"{indent}  "
    )
