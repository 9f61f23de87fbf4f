"""A run, or a sweep's runs as the settings of a method, against several people's truths."""

from __future__ import annotations

from typing import Any

from attnprobe.errors import RunError
from attnprobe.evaluate.people import People
from attnprobe.evaluate.people_rows import Method
from attnprobe.evaluate.published import published
from attnprobe.evaluate.settings import best_settings
from attnprobe.recipe.reader import read_file
from attnprobe.recipe.tree import Faults
from attnprobe.run.folder import POINTS, RECIPE, RunFolder
from attnprobe.run.results import Results
from attnprobe.run.sweep import runs_of


def against_people(folder: RunFolder) -> Method | None:
    """What a run or a sweep scores against people; None if its protocol doesn't ask for it.

    The images are those that every setting has scored.

    Raises:
        RunError: there is no run, a file can't be read, or no image is scored in all settings.
    """
    runs = runs_of(folder)
    results = {_label(run): Results.load(run) for run in runs}
    if not any(result.scorer.protocol.people for result in results.values()):
        return None
    found = {name: _scores(result) for name, result in results.items()}
    images = [
        name for name in next(iter(found.values())) if all(name in of for of in found.values())
    ]
    if not images:
        raise RunError(f"{folder.path}: no image is scored against people in every setting")
    best = best_settings({name: [of[image] for image in images] for name, of in found.items()})
    recipe = read_file(runs[0].path / RECIPE, Faults()).plain()
    first = next(iter(results.values()))
    sweep = len(runs) > 1
    return Method(
        name=first.recipe or recipe["name"],
        dataset=_dataset(recipe),
        scores={name: (each.ods, each.ois if sweep else None) for name, each in best.items()},
        source=str(folder.path),
        measured=True,
        images=len(images),
        settings=len(runs),
        setting=best["covering"].setting if sweep else "",
        notes=tuple(_notes(recipe, len(images), len(first.images))),
    )


def _label(run: RunFolder) -> str:
    point = run.path.parent.name == POINTS
    return run.path.name.partition("-")[2] if point else run.path.name


def _scores(results: Results) -> dict[str, People]:
    return {o.image: o.people for o in results.done if o.people is not None}


def _dataset(recipe: dict[str, Any]) -> str:
    images = recipe["images"]
    sources = images if isinstance(images, list) else [images]
    return " + ".join(dict.fromkeys(source["use"] for source in sources))


def _notes(recipe: dict[str, Any], scored: int, images: int) -> list[str]:
    """What keeps the row from being compared."""
    notes = []
    if scored != images:
        notes.append(f"{scored:,} of {images:,} images are scored in every setting")
    about = published().datasets.get(_dataset(recipe))
    if about is None:
        return notes
    split = recipe["images"].get("split") if isinstance(recipe["images"], dict) else None
    if about.split is not None and (split != about.split or images != about.images):
        notes.append(
            f"its images are {images:,} of {split}, published figures are over the "
            f"{about.images:,} of {about.split}"
        )
    return notes
