"""Which stages fit together, and a field taken through those that cut it into segments.

Kinds are read off the annotations of ``__call__``: an aggregator's answer, and the parameter
``field`` of the others. What isn't annotated is for an `AttentionField` until it says otherwise;
sentences tell so, and what a stage is really given is checked too.
"""

from __future__ import annotations

import functools
import operator
import re
import typing
from collections.abc import Callable, Sequence
from types import FunctionType, MethodType
from typing import Any

import numpy as np
from PIL.Image import Image

from attnprobe import registry
from attnprobe.errors import ComponentError
from attnprobe.fields import AnyField, AttentionField, Segmentation, WordMaps

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
                f"{_name(stage)} works on {_describe_kinds(taken)}{_untold(stage, 'field')}, but "
                f"{_name(aggregate)} gives {_describe_kinds(given)}{_untold(aggregate, 'return')}; "
                f"aggregators that fit: {', '.join(_that_give(taken)) or 'none'}"
            )
    return None


def check_given(stage: Any, field: Any) -> None:
    """Refuse to give a grouper or a refiner a field of a kind that it doesn't say it works on.

    Raises:
        ComponentError: what it works on, and what it would be given.
    """
    taken = takes(stage)
    if not isinstance(field, taken):
        given = next((_PLAIN[kind] for kind in _FIELDS if isinstance(field, kind)), None)
        raise ComponentError(
            f"{_name(stage)} works on {_describe_kinds(taken)}{_untold(stage, 'field')}, but the "
            f"aggregator gave {given or f'a {type(field).__name__}'}"
        )


def _kinds(component: Any, name: str) -> Kinds:
    call = _call(component)
    hint = _hint(call, name)
    if hint is _NOTHING:
        return (AttentionField,)
    kinds = _named(hint)
    if not kinds:
        said = hint if isinstance(hint, str) else getattr(hint, "__name__", repr(hint))
        raise ComponentError(
            f"{call.__module__}.{call.__qualname__}: its annotation {said} of {name} names no kind "
            "of field; allowed: AttentionField, WordMaps, AnyField"
        )
    return tuple(kind for kind in _FIELDS if kind in kinds)


_NOTHING = object()


def _call(component: Any) -> Any:
    if isinstance(component, functools.partial):
        return _call(component.func)
    if isinstance(component, FunctionType | MethodType):
        return component
    return (component if isinstance(component, type) else type(component)).__call__


def _hint(call: Any, name: str) -> Any:
    """The annotation of a parameter, or of the answer; `_NOTHING` where there is none."""
    hint = getattr(call, "__annotations__", {}).get(name, _NOTHING)
    return _read(hint, call) if isinstance(hint, str) else hint


def _named(hint: Any) -> set[type]:
    """The kinds of field that an annotation has among its parts; all that come under it."""
    if hint is Any:
        return {*_FIELDS}
    if isinstance(hint, type):
        return {kind for kind in _FIELDS if issubclass(hint, kind) or issubclass(kind, hint)}
    bound = getattr(hint, "__bound__", None) or getattr(hint, "__value__", None)
    parts = (bound,) if bound is not None else typing.get_args(hint)
    return set().union(*map(_named, parts))


def _untold(component: Any, name: str) -> str:
    """Words for a stage that doesn't say its kind."""
    if _hint(_call(component), name) is not _NOTHING:
        return ""
    return f" (it has no annotation of {name}, so that is what it is for)"


def _read(hint: str, call: Any) -> Any:
    """What an annotation says, by its words where its names are imported for type checkers only.

    Raises:
        ComponentError: it has names that say nothing.
    """
    try:
        return eval(hint, call.__globals__)
    except Exception:  # an annotation may be anything that can be written
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


def _describe_kinds(kinds: Kinds) -> str:
    return " or ".join(_PLAIN[kind] for kind in kinds)


_PLAIN = {AttentionField: "attention between places", WordMaps: "words' maps"}


def group_and_refine(
    field: AnyField,
    image: Image,
    group: Callable[..., Segmentation],
    refine: Sequence[Callable[..., Segmentation]],
    seed: int,
    truth: np.ndarray | None = None,
) -> Segmentation:
    """Segment a field.

    Args:
        field: aggregated attention.
        image: the picture that it is of, all of it and nothing else.
        group: cuts the field into segments.
        refine: what is then done to them, in order.
        seed: of the one random generator that all of these draw from.
        truth: (H, W) labels at the image's size, −1 void, for groupers that are told of it.

    Returns:
        Labels at the size of the last stage's answer, often the field's grid.

    Raises:
        ComponentError: the field isn't of the kind that a stage works on.
    """
    for stage in (group, *refine):
        check_given(stage, field)
    rng = np.random.default_rng(seed)
    segmentation = group(field, rng=rng, truth=truth)
    for stage in refine:
        segmentation = stage(segmentation, field, rng=rng, image=image)
    return segmentation
