"""What an earlier run left in a folder, and whether a run may go on with it or replace it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnprobe.errors import RunError
from attnprobe.run.folder import PROGRESS, RECIPE, RunFolder
from attnprobe.run.listing import Listed
from attnprobe.run.results import Results

if TYPE_CHECKING:
    from attnprobe.data.base import Sample
    from attnprobe.recipe import Recipe

LISTED = 5
"""Names in a message; of more, the first so many."""


@dataclass(frozen=True)
class Earlier:
    """A run to go on with.

    Args:
        results: what it has found.
        notes: what changed since in a way that is worth a sentence.
        outdated: names under which is kept what was found of other files than they stand for now.
    """

    results: Results
    notes: list[str]
    outdated: tuple[str, ...] = ()


def earlier_run(folder: RunFolder, recipe: Recipe, samples: Sequence[Sample]) -> Earlier | None:
    """The run that a folder holds, with the images of today; None if none was started.

    Images that are new come after those of the run's list. Those that are gone stay on it: what
    was found of them is kept, and otherwise they fail. What was found of a file that was replaced,
    or that another has taken the name of, is outdated: the image is done anew.

    Raises:
        RunError: it is a run of another recipe, with a line for each key that differs, or can't
            be read.
    """
    if folder.is_sweep:
        raise RunError(f"{folder.path}: holds a sweep, and this recipe has none")
    if not folder.is_run:
        return None
    _refuse_another_recipe(folder, recipe)
    found = Results.load(folder)
    today = {sample.name: sample for sample in samples}
    places = {sample.where for sample in samples}
    before = found.listed or {name: Listed(name) for name in today}
    new = [name for name in today if name not in before]
    gone = [name for name in before if name not in today]
    renamed = [name for name in gone if before[name].where in places]
    changed = [name for name in today if found.has_done(name) and not found.holds(today[name])]
    outdated = dict.fromkeys([*renamed, *changed])
    listed: list[Listed] = [
        before[name] if name in gone or found.has_done(name) else Listed(name, today[name].where)
        for name in before
        if name not in outdated
    ]
    # In the order of before, where files were read; a changed one has a place and no content yet.
    order = {name: number for number, name in enumerate([*before, *new])}
    listed += [Listed(name, today[name].where) for name in [*changed, *new]]
    listed.sort(key=lambda each: order[each.image])
    results = Results(folder, recipe.name, listed)
    results.take(outcome for outcome in found.outcomes if outcome.image not in outdated)
    told = {
        "new": new,
        "gone": [name for name in gone if name not in renamed],
        "of another name now": renamed,
        "changed, to be done anew": changed,
    }
    said = "; ".join(_count(names, what) for what, names in told.items() if names)
    notes = [f"the images have changed since: {said}"] if said else []
    return Earlier(results, notes, tuple(outdated))


def refuse_to_replace(folder: RunFolder) -> None:
    """Refuse a folder whose run isn't over, for its work would be lost.

    Raises:
        RunError: it holds such a run, or a sweep.
    """
    summary = folder.summary()
    left = summary.get("images", 0) - summary.get("done", 0) - summary.get("failed", 0)
    if folder.is_sweep or left or (folder.path / PROGRESS).exists():
        held = "a sweep" if folder.is_sweep else "a run that isn't over"
        raise RunError(
            f"{folder.path}: holds {held}; go on with --resume, or name another folder with -o"
        )


def changes(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two values of plain data differ: the path of keys, the one value, the other."""
    pairs: list[tuple[Any, Any, Any]]
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = [(key, before.get(key), now.get(key)) for key in {**before, **now}]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(i, *pair) for i, pair in enumerate(zip(before, now, strict=True))]
    else:
        if before != now:
            yield path, before, now
        return
    for key, one, other in pairs:
        yield from changes(one, other, f"{path}.{key}" if path else str(key))


def environment_notes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """A sentence for each thing outside the recipe that differs; packages by their names."""
    found = changes(_without(before, "earlier"), now)
    return [
        f"{key.removeprefix('packages.')} was {one} when the run began and is {other} now"
        for key, one, other in found
    ]


def with_earlier(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The environment of today with those that came before it."""
    return {**now, "earlier": [*before.get("earlier", []), _without(before, "earlier")]}


def _refuse_another_recipe(folder: RunFolder, recipe: Recipe) -> None:
    from attnprobe.recipe import load_recipe

    saved = load_recipe(folder.path / RECIPE)
    different = list(changes(saved.resolved(), recipe.resolved()))
    if different:
        lines = [f"{folder.path}: holds a run of another recipe, and only the same can go on:"]
        for path, one, other in different:
            lines += [f"  - {path}: {_as_json(one)}", f"  + {path}: {_as_json(other)}"]
        raise RunError("\n".join(lines))


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _without(data: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != key}


def _count(names: list[str], what: str) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{len(names)} {what} ({', '.join(names[:LISTED])}{more})"
