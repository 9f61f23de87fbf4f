"""Sweeps: one recipe file that stands for many recipes, a point each."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from attnprobe.errors import RecipeError, did_you_mean
from attnprobe.recipe.load import check, read_recipe
from attnprobe.recipe.overrides import Override
from attnprobe.recipe.point_labels import labels_of
from attnprobe.recipe.schema import shown, unknown_keys
from attnprobe.recipe.tree import Faults, Value, put
from attnprobe.recipe.values import Recipe

SWEPT = ("model", "probe", "aggregate", "group", "refine", "label", "evaluate", "seed")
"""Sections that may be swept; the images and the name are those of the whole sweep."""

MOST_POINTS = 1_000
"""Points of a sweep."""


@dataclass(frozen=True)
class Point:
    """One recipe of a sweep.

    Args:
        label: unique within the sweep and safe as a folder's name, such as "01-anchors=8"; empty
            if the file has no sweep.
        values: the swept keys, such as "group.anchors", and what this point gives them.
        recipe: the recipe with these values.
    """

    label: str
    values: dict[str, Any]
    recipe: Recipe


@dataclass(frozen=True)
class Axis:
    """A swept key and its values."""

    key: str
    values: list[Value]

    @property
    def path(self) -> tuple[str, ...]:
        """The key's parts."""
        return tuple(self.key.split("."))


def load_points(path: str | Path, overrides: Iterable[str | Override] = ()) -> tuple[Point, ...]:
    """Load every recipe that a file stands for: those of its `sweep` in order, or its only one.

    Args:
        path: a YAML file, or the name of a shipped recipe.
        overrides: changes such as "group.anchors=8", made to all points; of a key that is swept
            they are refused.

    Raises:
        RecipeError: the file can't be read, or a point isn't allowed; a line for each fault.
    """
    faults = Faults()
    value, default_name = read_recipe(path, overrides, faults)
    if "sweep" not in value.data:
        return (Point("", {}, check(value, default_name, faults)),)
    base, points = split(value, faults)
    faults.settle()
    labels = labels_of(
        [axis.key for axis in points[0]],
        [[axis.values[0].plain() for axis in axes] for axes in points],
    )
    changed = [_at_point(base, axes, faults) for axes in points]
    _refuse_vain(base, changed, faults)
    found: dict[str, Point] = {}
    for label, axes, point in zip(labels, points, changed, strict=True):
        own = Faults()  # for a fault that is noted already would not be noticed
        try:
            recipe = check(point, default_name, own)
        except RecipeError:
            faults.extend(line for line in own if line not in faults)
            continue
        same = found.setdefault(
            json.dumps(recipe.resolved(), default=repr),
            Point(label, {axis.key: axis.values[0].plain() for axis in axes}, recipe),
        )
        if same.label != label:
            last = axes[-1]
            sentence = f"the points {same.label} and {label} are the same recipe"
            faults.add(last.values[0].place, f"sweep: {last.key}", sentence)
    faults.settle()
    return tuple(found.values())


def split(value: Value, faults: Faults) -> tuple[Value, list[list[Axis]]]:
    """A recipe without its sweep, and the sweep's points: for each, axes of a single value."""
    base = replace(value, data={key: item for key, item in value.data.items() if key != "sweep"})
    sweep = value.data["sweep"]
    axes = _axes(sweep, faults)
    if not axes:
        return base, []
    lengths = [len(axis.values) for axis in axes]
    together = "zip" in sweep.data
    if together and len(set(lengths)) > 1:
        said = ", ".join(f"{axis.key} has {len(axis.values)}" for axis in axes)
        faults.add(sweep.data["zip"].place, "sweep.zip", f"lists must be equally long; {said}")
        return base, []
    count = lengths[0] if together else math.prod(lengths)
    if count > MOST_POINTS:
        faults.add(sweep.place, "sweep", f"{count:,} points; a sweep has at most {MOST_POINTS:,}")
        return base, []
    values = [axis.values for axis in axes]
    rows = zip(*values, strict=True) if together else itertools.product(*values)
    points = [
        [Axis(axis.key, [item]) for axis, item in zip(axes, row, strict=True)] for row in rows
    ]
    return base, points


def _axes(sweep: Value, faults: Faults) -> list[Axis]:
    """The axes under `grid` or `zip`; none, and faults noted, where they aren't well said."""
    before = len(faults)
    example = "such as {grid: {group.anchors: [8, 16]}}"
    if not isinstance(sweep.data, dict) or not sweep.data:
        faults.add(sweep.place, "sweep", f"must be a grid or a zip, {example}; got {shown(sweep)}")
        return []
    if not {"grid", "zip"} & set(sweep.data) and any("." in key for key in sweep.data):
        sentence = f"the keys that are swept stand under grid or zip, {example}"
        faults.add(sweep.place, "sweep", sentence)
        return []
    unknown_keys(sweep, "sweep", ["grid", "zip"], faults)
    if {"grid", "zip"} <= set(sweep.data):
        faults.add(sweep.place, "sweep", "must be either a grid or a zip, and not both")
    if len(faults) > before:
        return []
    kind, keys = next(iter(sweep.data.items()))
    if not isinstance(keys.data, dict) or not keys.data:
        sentence = f"must be a mapping of keys to lists, {example}; got {shown(keys)}"
        faults.add(keys.place, f"sweep.{kind}", sentence)
        return []
    axes = []
    for key, values in keys.data.items():
        at = f"sweep.{kind}: {key}"
        first, *rest = key.split(".")
        if first not in SWEPT or not all(rest):
            sentence = f"can't be swept{did_you_mean(first, list(SWEPT))}"
            faults.add(values.key_place, at, f"{sentence}, and keys within, as group.anchors")
        elif not isinstance(values.data, list) or not values.data:
            faults.add(values.place, at, f"must be a list of values; got {shown(values)}")
        else:
            axes.append(Axis(key, [replace(v, key_place=values.key_place) for v in values.data]))
    return axes if len(faults) == before else []


def _at_point(base: Value, axes: list[Axis], faults: Faults) -> Value:
    """The recipe's values with those of a point over them."""
    value = base
    for axis in axes:
        try:
            value = put(value, axis.path, axis.values[0])
        except RecipeError as error:
            if str(error) not in faults:
                faults.append(str(error))
    return value


def _refuse_vain(base: Value, points: list[Value], faults: Faults) -> None:
    """Note the changes from the command line that a sweep undoes at every point."""
    kept = {leaf.place for point in points for leaf in _leaves(point)}
    for leaf in _leaves(base):
        if leaf.place.startswith("--") and leaf.place not in kept:
            faults.add(leaf.place, "", "changes nothing, for the recipe sweeps over this key")


def _leaves(value: Value) -> Iterator[Value]:
    inner = value.data.values() if isinstance(value.data, dict) else value.data
    if isinstance(value.data, dict | list) and value.data:
        for item in inner:
            yield from _leaves(item)
    else:
        yield value
