"""From a file, or a shipped recipe's name, to a recipe: extended, overridden, checked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from attnprobe.errors import RecipeError
from attnprobe.models import ModelSpec
from attnprobe.probe import Probe
from attnprobe.recipe.overrides import Override
from attnprobe.recipe.reader import read_file
from attnprobe.recipe.recipe import Evaluate, Name, Recipe, Seed
from attnprobe.recipe.schema import component, components, convert, make, shown, unknown_keys
from attnprobe.recipe.shipped import shipped
from attnprobe.recipe.tree import Faults, Value, merged
from attnprobe.registry import did_you_mean

REQUIRED = {
    "model": "{preset: tiny}",
    "images": "{use: photos}",
    "aggregate": "{use: multiscale}",
    "group": "{use: diffseg}",
}
"""Keys that a recipe must have, with an example of each."""


def load_recipe(path: str | Path, overrides: Iterable[str | Override] = ()) -> Recipe:
    """Load a recipe.

    Args:
        path: a YAML file, or the name of a shipped recipe.
        overrides: changes such as "group.anchors=8", made in order.

    Raises:
        RecipeError: it can't be read or says what isn't allowed; a line for each fault.
    """
    file = _find(path)
    faults = Faults()
    value = _extended(file, faults)
    for override in overrides:
        try:
            change = Override.parse(override) if isinstance(override, str) else override
            value = change.over(value, faults)
        except RecipeError as error:
            faults.append(str(error))
    default_name = re.sub(r"[^\w.+-]+", "-", file.stem)[:60].strip("-+.") or "recipe"
    return _checked(value, default_name, faults)


def _find(path: str | Path) -> Path:
    """The file itself, or the shipped recipe called so (`diffseg`, `recipes/diffseg.yaml`)."""
    file = Path(path)
    bare = file.parent in (Path(), Path("recipes"))
    name = file.stem if file.suffix in (".yaml", ".yml") else file.name
    if not os.path.isfile(file) and bare and name in shipped():
        return shipped()[name]
    if not os.path.exists(file):
        known = did_you_mean(name, list(shipped())).replace("allowed:", "shipped recipes:")
        raise RecipeError(f"{file}: there is no such recipe{known}")
    return file


def _extended(file: Path, faults: Faults) -> Value:
    """The file's content over that of the recipe it extends, if it does."""
    value = read_file(file, faults)
    extends = value.data.get("extends")
    if extends is None:
        return value
    try:
        if not isinstance(extends.data, str) or not extends.data:
            raise RecipeError(f"must be a recipe's file; got {shown(extends)}")
        beside = file.parent / extends.data
        base_file = beside if os.path.isfile(beside) else _find(extends.data)
        if base_file.samefile(file):
            raise RecipeError("a recipe can't extend itself")
        base = read_file(base_file, faults)
        if "extends" in base.data:
            further = shown(base.data["extends"])
            raise RecipeError(f"{base_file} extends {further} in turn; one level is allowed")
    except RecipeError as error:
        raise RecipeError(f"{extends.place}: extends: {error}") from error
    own = {key: item for key, item in value.data.items() if key != "extends"}
    standing = {key: item for key, item in base.data.items() if key != "name"}
    return merged(replace(base, data=standing), replace(value, data=own))


def _checked(value: Value, default_name: str, faults: Faults) -> Recipe:
    """The recipe that the values say, or all that is wrong with them."""
    read: dict[str, Callable[[Value], Any]] = {
        "name": lambda v: convert(Name, v, "name", faults),
        "model": lambda v: make(ModelSpec, v, "model", faults),
        "images": lambda v: components("sources", v, "images", faults),
        "probe": lambda v: make(Probe, v, "probe", faults),
        "aggregate": lambda v: component("aggregators", v, "aggregate", faults),
        "group": lambda v: component("groupers", v, "group", faults),
        "refine": lambda v: components("refiners", v, "refine", faults),
        "evaluate": lambda v: make(Evaluate, v, "evaluate", faults),
        "seed": lambda v: convert(Seed, v, "seed", faults),
    }
    unknown_keys(value, "", [*read, "extends"], faults)
    if "extends" in value.data:
        faults.add(value.data["extends"].place, "extends", "can only be said in the recipe's file")
    for key, example in REQUIRED.items():
        if key not in value.data:
            faults.add(value.place, "", f"the key {key} is missing; such as {key}: {example}")
    given = {key: read[key](item) for key, item in value.data.items() if key in read}
    if not given.get("images", ("",)):
        faults.add(value.data["images"].place, "images", "at least one source is needed")
    faults.settle()
    given.setdefault("name", default_name)
    return Recipe(sources=given.pop("images"), **given)
