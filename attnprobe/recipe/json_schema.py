"""JSON Schema of recipes (2020-12), so that an editor completes and checks them as they're typed.

It is built from what the checker itself reads: the registry, the components' fields, annotations
and docstrings. It says what the checker says but for what no schema can: that names of files and
models exist, what a recipe that is extended holds, how a number was written, and what a component
checks in its `__post_init__`.
"""

from __future__ import annotations

import json
from dataclasses import Field
from typing import Any

from pydantic import PydanticUserError, TypeAdapter

from attnprobe import registry
from attnprobe.models import ModelSpec
from attnprobe.models.presets import PRESETS
from attnprobe.probe import Probe
from attnprobe.recipe.docstring import Docstring
from attnprobe.recipe.keys import dataclass_in, is_required, recipe_fields, type_hints
from attnprobe.recipe.load import REQUIRED
from attnprobe.recipe.sweep import SWEPT
from attnprobe.recipe.values import Evaluation, Name, Recipe, Seed, plain

Schema = dict[str, Any]

SECTIONS = {"model": ModelSpec, "probe": Probe, "evaluate": Evaluation}
"""Sections of one form."""

STAGES = {
    "images": "sources",
    "aggregate": "aggregators",
    "group": "groupers",
    "refine": "refiners",
    "label": "labellers",
}
"""Sections that name a component with `use`, and its kind."""

FORMAT = 1
"""Of recipes: goes up by one where older versions would misread a new one."""

LISTS = {"images": 1, "refine": 0}
"""Sections that may be a list of components, and the fewest it has."""

OPTIONAL = ("label",)
"""Sections that may be null, so that a recipe leaves away what one that it extends has."""


def recipe_schema() -> Schema:
    """The schema of a recipe's file, with every component that is registered."""
    texts = Docstring.of(Recipe).keys
    whole = {key: _section(key, whole=True) for key in [*SECTIONS, *STAGES]}
    parts = {key: _section(key, whole=False) for key in whole}
    described = {key: {"description": texts.get(key, texts["sources"])} for key in whole}
    definitions = {key: section(component) for key, component in SECTIONS.items()}
    for kind in STAGES.values():
        definitions |= {f"{kind}.{e.name}": _component(e) for e in registry.entries(kind)}
    definitions["seed"] = {**leaf(Seed), "default": 0, "description": texts["seed"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"attnprobe recipe, format {FORMAT}",
        "description": "Which model, which images, and what each stage does.",
        "type": "object",
        "properties": {
            "name": {**leaf(Name), "description": texts["name"]},
            "extends": {
                "type": "string",
                "minLength": 1,
                "description": "another recipe, of which this one changes keys",
            },
            **described,
            "seed": _ref("seed"),
            "sweep": _sweep(),
        },
        "additionalProperties": False,
        # What another recipe or a sweep gives need not stand here.
        "if": {"anyOf": [{"required": ["extends"]}, {"required": ["sweep"]}]},
        "then": {"properties": parts},
        "else": {"properties": whole, "required": list(REQUIRED)},
        "$defs": {**definitions, "axes": _axes(definitions)},
    }


def schema_text() -> str:
    """The schema as a file has it."""
    return json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n"


def leaf(hint: Any) -> Schema:
    """The schema of a key that holds no section; of types that have none, one that allows all."""
    try:
        schema = TypeAdapter(hint).json_schema()
    except PydanticUserError:
        return {}
    return {} if "$defs" in schema else _scalars_as_text(schema)


def section(component: type) -> Schema:
    """The schema of a dataclass's keys, none of them required."""
    hints, texts = type_hints(component), Docstring.of(component).keys
    properties = {}
    for field in recipe_fields(component):
        inner, optional = dataclass_in(hints[field.name])
        if inner is None:
            schema = leaf(hints[field.name])
        else:
            schema = section(inner)
            schema = {"anyOf": [schema, {"type": "null"}]} if optional else schema
        if not is_required(field):
            schema["default"] = default(field)
        if field.name in texts:
            schema["description"] = texts[field.name]
        properties[field.name] = schema
    if component is ModelSpec:
        properties["preset"]["enum"] = [*PRESETS, None]
    return {"type": "object", "properties": properties, "additionalProperties": False}


def default(field: Field[Any]) -> Any:
    """A field's default as a recipe says it."""
    made = field.default_factory() if callable(field.default_factory) else field.default
    return plain(made)


def _component(entry: registry.Entry) -> Schema:
    schema, name = section(entry.component), f"{entry.kind}.{entry.name}"
    # An editor names a fault by the title of the schema that finds it.
    titled = {key: {"title": f"{name}.{key}", **s} for key, s in schema["properties"].items()}
    use = {"const": entry.name, "description": entry.summary}
    schema["properties"] = {"use": use, **titled}
    return {"title": name, "description": entry.summary, **schema}


def _section(key: str, whole: bool) -> Schema:
    """A section that stands for itself, or one that goes over that of another recipe."""
    if key in SECTIONS:
        model = {"oneOf": [_given("preset"), _given("repo")]} if whole and key == "model" else {}
        return {**_ref(key), **model}
    kind = STAGES[key]
    full = _named(kind, whole=True)
    one = full if whole else _named(kind, whole=False)
    if key in OPTIONAL:
        return {"if": {"type": "null"}, "else": one}
    if key not in LISTS:
        return one
    several = {"items": full, "minItems": LISTS[key]}
    return {"if": {"type": "array"}, "then": several, "else": one}


def _named(kind: str, whole: bool) -> Schema:
    """A component by its `use`: the faults are those of the one that is named, and of no other.

    Where a recipe is extended and nothing is named, the keys are those of any.
    """
    entries = registry.entries(kind)
    refs = {entry.name: _ref(f"{kind}.{entry.name}") for entry in entries}
    required = {e.name: {"required": _required(e.component)} if whole else {} for e in entries}
    branches = [
        {"if": {"properties": {"use": {"const": name}}}, "then": {**ref, **required[name]}}
        for name, ref in refs.items()
    ]
    use = {"use": {"enum": list(refs)}}
    named = {"properties": use, "if": {"properties": use}, "then": {"allOf": branches}}
    has_use = {"required": ["use"]}
    if whole:
        chosen = {**has_use, "if": has_use, "then": named}
    else:
        chosen = {"if": has_use, "then": named, "else": {"anyOf": list(refs.values())}}
    return {"type": "object", "if": {"type": "object"}, "then": chosen}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _given(key: str) -> Schema:
    return {"required": [key], "properties": {key: {"not": {"type": "null"}}}}


def _required(component: type) -> list[str]:
    return ["use", *(field.name for field in recipe_fields(component) if is_required(field))]


def _sweep() -> Schema:
    return {
        "description": "keys and the values each takes; every point is a recipe of its own",
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {
            "grid": {**_ref("axes"), "description": "all combinations, in order"},
            "zip": {**_ref("axes"), "description": "lists of one length, walked together"},
        },
        "additionalProperties": False,
    }


def _axes(definitions: dict[str, Schema]) -> Schema:
    """Swept keys: each with the list of what it may take, in whichever component has it."""
    found: dict[str, list[Schema]] = {}

    def note(path: str, place: str) -> None:
        found.setdefault(path, []).append(_ref(place))
        inside = definitions[place.partition("/")[0]]
        for part in place.split("/")[1:]:
            inside = inside[part]
        for name in inside.get("properties", {}):
            note(f"{path}.{name}", f"{place}/properties/{name}")

    for key in SWEPT:
        for name in definitions:
            if name == key or name.startswith(f"{STAGES.get(key)}."):
                note(key, name)
    values: Schema = {"type": "array", "minItems": 1}
    typed = {key: {**values, "items": {"anyOf": refs}} for key, refs in found.items()}
    typed["refine"] = {**values, "items": _section("refine", whole=False)}
    return {
        "type": "object",
        "minProperties": 1,
        "properties": typed,
        # An entry of a list, counted from 0.
        "patternProperties": {rf"^({'|'.join(SWEPT)})(\.[^.]+)*\.[0-9]+(\.[^.]+)*$": values},
        "additionalProperties": False,
    }


def _scalars_as_text(schema: Schema) -> Schema:
    """Where text is wanted any scalar is taken as it was written: `name: 2024`."""
    if schema.get("type") == "string" and not {"enum", "const"} & set(schema):
        return {**schema, "type": ["string", "number", "boolean"]}
    if "anyOf" in schema:
        return {**schema, "anyOf": [_scalars_as_text(branch) for branch in schema["anyOf"]]}
    return schema
