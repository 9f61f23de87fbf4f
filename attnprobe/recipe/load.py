"""From a file, or a shipped recipe's name, to a recipe: extended, overridden, checked."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from attnprobe.data.prompts import Prompts
from attnprobe.errors import ComponentError, RecipeError, SettingWarning, did_you_mean
from attnprobe.models import ModelSpec
from attnprobe.probe import MAPS, NO_PROMPT, Probe
from attnprobe.recipe.overrides import Override
from attnprobe.recipe.reader import read_file
from attnprobe.recipe.schema import component, components, convert, make, shown, unknown_keys
from attnprobe.recipe.shipped import shipped
from attnprobe.recipe.tree import Faults, Value, merged
from attnprobe.recipe.values import Evaluation, Name, Recipe, Seed
from attnprobe.registry import entries
from attnprobe.stages import misfit

REQUIRED = {
    "model": "{preset: tiny}",
    "images": "{use: photos}",
    "aggregate": "{use: multiscale}",
    "group": "{use: diffseg}",
}
"""Keys that a recipe must have, with an example of each."""

IN_FILE_ONLY = ("extends", "sweep")
"""Keys that say how recipes are made of a file, and that no recipe has."""


def load_recipe(path: str | Path, overrides: Iterable[str | Override] = ()) -> Recipe:
    """Load a recipe.

    Args:
        path: a YAML file, or the name of a shipped recipe.
        overrides: changes such as "group.anchors=8", made in order.

    Raises:
        RecipeError: it can't be read, says what isn't allowed (a line for each fault), or has a
            `sweep`, which `load_points` reads.

    Examples:
        >>> ap.load_recipe("diffseg", ["group.anchors=8"]).group.anchors
        8
    """
    faults = Faults()
    value, default_name = read_recipe(path, overrides, faults)
    if "sweep" in value.data:
        sentence = "makes several recipes of this one, which load_points reads"
        faults.add(value.data["sweep"].key_place, "sweep", sentence)
        faults.settle()
    return check(value, default_name, faults)


def read_recipe(
    path: str | Path, overrides: Iterable[str | Override], faults: Faults
) -> tuple[Value, str]:
    """Read a recipe's values, extended and overridden but not checked, and its default name.

    Raises:
        RecipeError: it can't be read.
    """
    file = _find(path)
    value = _extended(file, faults)
    for override in overrides:
        try:
            change = Override.parse(override) if isinstance(override, str) else override
            if change.path[0] in IN_FILE_ONLY:
                faults.add(change.said, change.path[0], "can only be said in the recipe's file")
            else:
                value = change.over(value, faults)
        except RecipeError as error:
            faults.append(str(error))
    default_name = re.sub(r"[^\w.+-]+", "-", file.stem)[:60].strip("-+.") or "recipe"
    return value, default_name


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
    own_alone = ("name", "sweep") if "sweep" in own else ("name",)
    standing = {key: item for key, item in base.data.items() if key not in own_alone}
    return merged(replace(base, data=standing), replace(value, data=own))


def check(value: Value, default_name: str, faults: Faults) -> Recipe:
    """The recipe that the values say.

    Raises:
        RecipeError: they say what isn't allowed; the faults given come first.
    """
    read: dict[str, Callable[[Value], Any]] = {
        "name": lambda v: convert(Name, v, "name", faults),
        "model": lambda v: make(ModelSpec, v, "model", faults),
        "images": lambda v: components("sources", v, "images", faults),
        "probe": lambda v: make(Probe, v, "probe", faults),
        "aggregate": lambda v: component("aggregators", v, "aggregate", faults),
        "group": lambda v: component("groupers", v, "group", faults),
        "refine": lambda v: components("refiners", v, "refine", faults),
        "label": lambda v: None if v.data is None else component("labellers", v, "label", faults),
        "evaluate": lambda v: make(Evaluation, v, "evaluate", faults),
        "seed": lambda v: convert(Seed, v, "seed", faults),
    }
    unknown_keys(value, "", [*read, *IN_FILE_ONLY], faults)
    for key, example in REQUIRED.items():
        if key not in value.data:
            faults.add(
                value.place, "", f"the key {key} is missing; add, for example, {key}: {example}"
            )
    given = {key: read[key](item) for key, item in value.data.items() if key in read}
    if not given.get("images", ("",)):
        faults.add(value.data["images"].place, "images", "at least one source is needed")
    faults.settle()
    try:
        wrong = misfit(given["aggregate"], given["group"], given.get("refine", ()))
    except ComponentError as error:
        wrong = ("group",), str(error)
    if wrong is None and _wordless(given):
        wrong = ("aggregate",), NO_PROMPT
    if wrong is not None:
        path, sentence = wrong
        if not isinstance(value.data[path[0]].data, list):
            path = path[:1]  # a single refiner, without a list around it
        faults.add(value.at(path).place, ".".join(map(str, path)), sentence)
        faults.settle()
    _warn_of_words_that_nothing_reads(given)
    given.setdefault("name", default_name)
    return Recipe(sources=given.pop("images"), **given)


def _warn_of_words_that_nothing_reads(given: dict[str, Any]) -> None:
    probe, needs = given.get("probe", Probe()), getattr(given["aggregate"], "needs", MAPS)
    if probe.words and "words" not in needs and probe.emphasis == 1:
        reading = [
            entry.name
            for entry in entries("aggregators")
            if "words" in getattr(entry.component, "needs", MAPS)
        ]
        warnings.warn(
            f"probe.words: the aggregator reads no words, so that {', '.join(probe.words)} change "
            f"nothing; aggregators that read them: {', '.join(reading)}",
            SettingWarning,
            stacklevel=2,
        )


def _wordless(given: dict[str, Any]) -> bool:
    """Whether words' maps are needed of pictures that come without a prompt."""
    probe = given.get("probe", Probe())
    if probe.prompt or "words" not in getattr(given["aggregate"], "needs", MAPS):
        return False
    ours = [entry.component for entry in entries("sources") if entry.package == "attnprobe"]
    reads = [source for source in given["images"] if type(source) in ours]
    return any(not isinstance(source, Prompts) for source in reads)  # others may draw too
