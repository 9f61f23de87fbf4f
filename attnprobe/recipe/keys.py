"""The keys of a component: the fields that a recipe may give, and their types."""

from __future__ import annotations

import functools
import json
import types
import typing
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import SkipJsonSchema


def recipe_fields(component: type) -> list[Field[Any]]:
    """The fields that are recipe keys: all but those whose type says SkipJsonSchema.

    Such a field takes what YAML can't say, a function say, and is for Python alone.
    """
    hints = type_hints(component)
    return [
        field
        for field in fields(component)
        if SkipJsonSchema not in map(type, metadata(hints[field.name]))
    ]


def is_required(field: Field[Any]) -> bool:
    """Whether the field has no default."""
    return field.default is MISSING and field.default_factory is MISSING


@functools.cache
def type_hints(component: type) -> dict[str, Any]:
    """The annotations of a dataclass's fields, constraints included."""
    return typing.get_type_hints(component, include_extras=True)


def metadata(hint: Any) -> tuple[Any, ...]:
    """What `Annotated` says about the type, or nothing."""
    return typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()


def dataclass_in(hint: Any) -> tuple[type | None, bool]:
    """The dataclass that `hint` is, and whether None may stand for it."""
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    parts = typing.get_args(hint) if union else (hint,)
    rest = [part for part in parts if part is not type(None)]
    if len(rest) == 1 and isinstance(rest[0], type) and is_dataclass(rest[0]):
        return rest[0], len(parts) > 1
    return None, False


def strictly(adapter: TypeAdapter[Any], data: Any) -> Any:
    """The data as the type, without conversions such as from text to a number."""
    # By way of JSON, where a list is a tuple's and a text a path's only form.
    return adapter.validate_json(json.dumps(data), strict=True)


@functools.lru_cache(maxsize=256)
def adapter_of(hint: Any) -> TypeAdapter[Any]:
    """What checks values against an annotation."""
    return TypeAdapter(hint)
