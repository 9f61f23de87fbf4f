"""Which stages fit together: what an aggregator gives, and what groupers and refiners take.

Both are read off the annotations of ``__call__``: an aggregator's answer, and the parameter
``field`` of the others. What isn't annotated is taken for an `AttentionField`.
"""

from __future__ import annotations

import functools
import operator
import re
import typing
from collections.abc import Sequence
from types import FunctionType
from typing import Any

from attnprobe import registry
from attnprobe.errors import ComponentError
from attnprobe.fields import AnyField, AttentionField, WordMaps

Kinds = tuple[type, ...]

Path = tuple[str | int, ...]
"""Keys and numbers that lead to a stage in a recipe."""

_FIELDS = (AttentionField, WordMaps)


def gives(aggregate: Any) -> Kinds:
    """The kinds of field that an aggregator, an instance or a class, may answer with."""
    return _kinds(aggregate, "return")


def takes(component: Any) -> Kinds:
    """The kinds of field that a grouper or a refiner, an instance or a class, works on."""
    return _kinds(component, "field")


def misfit(aggregate: Any, group: Any, refine: Sequence[Any] = ()) -> tuple[Path, str] | None:
    """The first stage that can't take what the aggregator gives: where it is, and a sentence.

    Raises:
        ComponentError: an annotation can't be read.
    """
    given = gives(aggregate)
    stages: list[tuple[Path, Any]] = [(("group",), group)]
    stages += [(("refine", number), stage) for number, stage in enumerate(refine)]
    for path, stage in stages:
        taken = takes(stage)
        if not set(given) & set(taken):
            return path, (
                f"{_name(stage)} works on {_said(taken)}, but {_name(aggregate)} gives "
                f"{_said(given)}; aggregators that fit: {', '.join(_that_give(taken)) or 'none'}"
            )
    return None


def _kinds(component: Any, name: str) -> Kinds:
    cls = component if isinstance(component, type) else type(component)
    call: Any = component if isinstance(component, FunctionType) else cls.__call__
    hint = getattr(call, "__annotations__", {}).get(name)
    if isinstance(hint, str):
        hint = _read(hint, call)
    kinds = typing.get_args(hint) or (hint,)
    return tuple(kind for kind in kinds if kind in _FIELDS) or (AttentionField,)


def _read(hint: str, call: Any) -> Any:
    """What an annotation says, by its words where its names are imported for type checkers only.

    Raises:
        ComponentError: it has names that say nothing.
    """
    try:
        return eval(hint, call.__globals__)
    except NameError:
        words = re.findall(r"[^\W\d]\w*", hint)
    known = {"AttentionField": AttentionField, "WordMaps": WordMaps, "AnyField": AnyField}
    for word in words:
        if word in known:
            others = [known[each] for each in words if each in known]
            return functools.reduce(operator.or_, others)
    raise ComponentError(
        f"{call.__module__}.{call.__qualname__}: its annotation {hint!r} can't be read while it "
        "runs; import AttentionField or WordMaps outside of TYPE_CHECKING, under their own names"
    )


def _that_give(kinds: Kinds) -> list[str]:
    found = registry.entries("aggregators")
    return [entry.name for entry in found if set(gives(entry.component)) & set(kinds)]


def _name(component: Any) -> str:
    for kind in ("aggregators", "groupers", "refiners"):
        for entry in registry.entries(kind):
            if entry.component is type(component):
                return entry.name
    return getattr(component, "__name__", type(component).__name__)


def _said(kinds: Kinds) -> str:
    return " or ".join(_PLAIN[kind] for kind in kinds)


_PLAIN = {AttentionField: "attention between places", WordMaps: "words' maps"}
