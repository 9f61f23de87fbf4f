"""What a recipe may say: its values become components, checked against the registry's own types.

A component's fields, their annotations and defaults are the schema, so a plug-in's keys are
checked like ours. Checks are strict (`"8"` is no number, `true` is not 1) and none stops another:
every fault is noted with the place of the value it is about.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from attnprobe import registry
from attnprobe.errors import AttnProbeError, did_you_mean
from attnprobe.recipe.docstring import Docstring
from attnprobe.recipe.examples import component_example, list_example, mapping_example
from attnprobe.recipe.keys import (
    adapter_of,
    dataclass_in,
    is_required,
    recipe_fields,
    strictly,
    type_hints,
)
from attnprobe.recipe.reader import in_a_line
from attnprobe.recipe.tree import Faults, Value


def make(
    component: type, value: Value, path: str, faults: Faults, also: tuple[str, ...] = ()
) -> Any:
    """Make a dataclass of a mapping's keys; None, and faults noted, where that can't be done.

    `also` are keys that the mapping may have and that are no fields.
    """
    keys = recipe_fields(component)
    hints = type_hints(component)
    allowed = [*also, *(field.name for field in keys)]
    if not isinstance(value.data, dict):
        meant = mapping_example(component, value)
        example = f"such as {in_a_line(meant)}" if meant else "of keys"
        sentence = f"must be a mapping {example}; got {_shown_as_text(value)}"
        faults.add(value.place, path, f"{sentence}; allowed: {', '.join(allowed)}")
        return None
    before = len(faults)
    unknown_keys(value, path, allowed, faults)
    given: dict[str, Any] = {}
    for field in keys:
        if field.name in value.data:
            at = f"{path}.{field.name}"
            given[field.name] = convert(hints[field.name], value.data[field.name], at, faults)
        elif is_required(field):
            meaning = Docstring.of(component).keys.get(field.name)
            said = f": {meaning.rstrip('.')}" if meaning else ""
            faults.add(value.place, path, f"the key {field.name} is missing{said}")
    if len(faults) > before:
        return None
    try:
        return component(**given)
    except Exception as error:  # a component's own check, which a plug-in may write as it likes
        if len(given) == 1:  # then it can only be about that one
            path, value = f"{path}.{(only := next(iter(given)))}", value.data[only]
        faults.add(value.place, path, _sentence(error))
        return None


def component(kind: str, value: Value, path: str, faults: Faults) -> Any:
    """Make the component of that kind which the mapping names with `use`."""
    use = value.data.get("use") if isinstance(value.data, dict) else None
    if use is None:
        known = ", ".join(entry.name for entry in registry.entries(kind)) or "none"
        example = in_a_line(component_example(kind, value))
        sentence = f"must be a mapping such as {example}; got {_shown_as_text(value)}"
        faults.add(value.place, path, f"{sentence}; {kind}: {known}")
        return None
    if not isinstance(use.data, str):
        faults.add(use.place, f"{path}.use", f"must be a word; got {shown(use)}")
        return None
    try:
        found = registry.find(kind, use.data)
    except AttnProbeError as error:
        faults.add(use.place, f"{path}.use", str(error))
        return None
    return make(found, value, path, faults, also=("use",))


def components(kind: str, value: Value, path: str, faults: Faults) -> tuple[Any, ...]:
    """Make one component or a list of them."""
    if not isinstance(value.data, list):
        return (component(kind, value, path, faults),)
    return tuple(component(kind, v, f"{path}.{i}", faults) for i, v in enumerate(value.data))


def convert(hint: Any, value: Value, path: str, faults: Faults) -> Any:
    """The value as the annotated type, a dataclass within a dataclass included."""
    inner, optional = dataclass_in(hint)
    if inner is not None and not (optional and value.data is None):
        return make(inner, value, path, faults)
    adapter = adapter_of(hint)
    try:
        return strictly(adapter, value.plain())
    except ValidationError as error:
        if value.text is not None:  # `name: 2024` is a fine name
            try:
                return strictly(adapter, value.text)
            except ValidationError:
                pass
        _explain(error, value, path, faults, list_example(hint, value))
    return None


def unknown_keys(value: Value, path: str, allowed: list[str], faults: Faults) -> None:
    """Note the mapping's keys that aren't allowed, each with the nearest that is."""
    for key, item in value.data.items():
        if key not in allowed:
            at = f"{path}.{key}" if path else key
            sentence = f"unknown key{did_you_mean(key, allowed)}"
            faults.add(item.key_place, at, sentence)


def shown(value: Value) -> str:
    """The value in a message, cut short if it is long."""
    if value.data is None:
        return "nothing"
    text = json.dumps(value.plain(), ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _shown_as_text(value: Value) -> str:
    """The value, and a hint where it is text but wasn't meant to be."""
    said = shown(value)
    if not isinstance(value.data, str):
        return said
    if re.match(r"\w+:[^\s/\\]", value.data):
        return f"{said}, where a space is missing after the colon"
    quoted = re.fullmatch(r"[-+]?\d+\.?\d*(e[-+]?\d+)?|true|false|null", value.data)
    return f"{said}, which the quotes make text" if quoted else said


def _explain(
    error: ValidationError, value: Value, path: str, faults: Faults, example: list[Any] | None
) -> None:
    """Note pydantic's findings; those on one value, such as a union's branches, in one sentence."""
    found: dict[tuple[str | int, ...], list[str]] = {}
    for item in error.errors(include_url=False):
        found.setdefault(_path_in(value, item["loc"]), []).append(_message(item))
    if any(found):  # a finding within the value says more than one about the whole of it
        found.pop((), None)
    for parts, messages in found.items():
        place = value.at(parts)
        at = ".".join([path, *map(str, parts)])
        words = [_in_words(m) for m in messages]
        if words == messages:
            sentence = messages[0].removeprefix("Value error, ")
        else:
            sentence = "must be " + " or ".join(dict.fromkeys(words))
            if words == ["a list"] and not parts and example:
                sentence += f", such as {in_a_line(example)}"
        faults.add(place.place, at, f"{sentence}; got {_shown_as_text(place)}")


def _message(item: ErrorDetails) -> str:
    """pydantic's sentence, or ours where its own speaks of Python's types."""
    if item["type"] != "too_short":
        return item["msg"]
    what = "mapping" if item["ctx"]["field_type"] == "Dictionary" else "list"
    return f"Input should be a {what} of at least {item['ctx']['min_length']}"


def _in_words(message: str) -> str:
    words = message.removeprefix("Input should be ")
    return _PLAINER.get(words, words)


_PLAINER = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "a valid array": "a list",
    "None": "nothing",
}


def _path_in(value: Value, loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """pydantic's location without the parts that name a branch of a union."""
    parts: list[str | int] = []
    for part in loc:
        inside = isinstance(value.data, dict) and part in value.data
        if inside or (isinstance(value.data, list) and part in range(len(value.data))):
            value = value.data[part]
            parts.append(part)
    return tuple(parts)


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    known = isinstance(error, AttnProbeError | ValueError)
    return text if known and text else f"{type(error).__name__}: {text}"
