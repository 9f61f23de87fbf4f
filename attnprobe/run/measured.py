"""Runs as rows of a leaderboard, read from the files in their folders."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Required

from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from attnprobe.errors import RunError
from attnprobe.evaluate.leaderboard import LeaderboardEntry
from attnprobe.evaluate.published import Conditions
from attnprobe.files import printable
from attnprobe.recipe.reader import read_file
from attnprobe.recipe.tree import Faults
from attnprobe.run.folder import POINTS, RECIPE, RunFolder
from attnprobe.run.forms import checked
from attnprobe.run.results import mean


def measured(run: RunFolder) -> LeaderboardEntry:
    """A run's scores: pooled over a dataset's classes, else the mean over its images.

    Raises:
        RunError: it is still going on, none of its images has a score, or a file can't be read.
    """
    summary = run.summary()
    scores = summary.get("mean" if summary.get("classes") is None else "pooled", {})
    if scores.get("miou") is None:
        why = "none of its images has a score" if summary else "it has not come to an end"
        raise RunError(f"{run.path}: no row of a leaderboard, for {why}")
    recipe = _recipe(run.path / RECIPE)
    point = run.path.parent.name == POINTS
    seconds = mean(list(run.times().values()))
    return LeaderboardEntry(
        method=printable(run.path.name.partition("-")[2] if point else summary.get("recipe", "")),
        dataset=printable(_dataset(recipe)),
        miou=100 * scores["miou"],
        acc=None if scores.get("acc") is None else 100 * scores["acc"],
        conditions=_conditions(recipe, summary.get("protocol", {})),
        source=printable(run.path),
        measured=True,
        model=printable(run.environment().get("model", {}).get("model", "")),
        images=summary.get("images", 0),
        scored=summary.get("scored", 0),
        segments=summary.get("mean", {}).get("segments"),
        seconds=None if seconds is None or math.isnan(seconds) else seconds,
    )


def _dataset(recipe: dict[str, Any]) -> str:
    """The name of its source, or of its several sources."""
    images = recipe["images"]
    sources = images if isinstance(images, list) else [images]
    return " + ".join(dict.fromkeys(source["use"] for source in sources))


def _recipe(path: Path) -> dict[str, Any]:
    """A run's recipe, of which only what is needed here is checked: its plug-ins may be gone.

    Raises:
        RunError: it is of another form.
    """
    return checked(_RECIPE, read_file(path, Faults()).plain(), path)


class _Source(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    use: str


class _Saved(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    images: Required[_Source | list[_Source]]
    evaluate: dict[str, Any]
    probe: dict[str, Any]


_RECIPE = TypeAdapter(_Saved)


def _conditions(recipe: dict[str, Any], protocol: dict[str, Any]) -> Conditions:
    """How it was scored; what the probe doesn't see isn't."""
    match = protocol.get("match") or recipe.get("evaluate", {}).get("match") or "per-image"
    crop = recipe.get("probe", {}).get("fit") == "crop"
    return Conditions(match, protocol.get("size") or 0, crop)
