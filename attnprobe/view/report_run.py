"""A run as the report and the server show it: its images by score, pictures, and explorers."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from attnprobe.errors import RecipeError, RunError
from attnprobe.fields import Segmentation
from attnprobe.group.diffseg import DiffSeg
from attnprobe.pictures.heat import heat
from attnprobe.pictures.labels import load_labels
from attnprobe.pictures.legend import LegendLine
from attnprobe.pictures.reading import read_image
from attnprobe.recipe import Recipe, load_recipe
from attnprobe.recipe.reader import read_file
from attnprobe.recipe.tree import Faults
from attnprobe.run.folder import RECIPE, RunFolder
from attnprobe.run.kept_maps import SIDE, KeptMaps, load_maps
from attnprobe.run.kept_names import load_names
from attnprobe.run.kept_words import load_words
from attnprobe.run.outcome import Outcome
from attnprobe.run.results import Results
from attnprobe.run.sweep import runs_of
from attnprobe.stages import group_and_refine
from attnprobe.view.explorer import explorer_payload
from attnprobe.view.layer_maps import Maps

LEVELS = (0.6, 0.8, 1.0, 1.2, 1.4)
"""Thresholds of the slider where nobody answers it, as parts of the recipe's first."""

SLIDER = (
    "The segments shown at first are the run's own. The threshold's slider regroups the maps as "
    f"kept, pooled to at most {SIDE}×{SIDE} tokens, with one threshold in all passes."
)
"""What must be known of the slider."""

_LABELS_SIDE = 512
_LEVEL_SIDE = 256
"""Pixels of the longer side of labels as shown, and of those of a level."""


@dataclass(frozen=True)
class ShownRun:
    """A run's folder, read once.

    Only files in the folder are read, whatever the names of its images say.

    Args:
        folder: where it lies.
        results: what was found.
        recipe: what was run; None where it can't be made any more, for a plug-in is gone, say.
        name: what the run is called.
        lost: why there is no recipe, in a sentence.
    """

    folder: RunFolder
    results: Results
    recipe: Recipe | None
    name: str
    lost: str = ""

    @classmethod
    def load(cls, path: Path) -> ShownRun:
        """Read a run.

        Raises:
            RunError: there is no run, or a sweep, or it can't be read.
            RecipeError: its recipe's file can't be read.
        """
        folder = RunFolder(path)
        if runs_of(folder) != [folder]:
            raise RunError(f"{path}: holds a sweep; name one of the runs in {path / 'points'}")
        results = Results.load(folder)
        try:
            recipe = load_recipe(path / RECIPE)
        except RecipeError as error:
            given = read_file(path / RECIPE, Faults()).plain()  # raises if it is no recipe's file
            name = str(given.get("name") or path.name)
            lost = f"The recipe can't be made here, so nothing can be regrouped: {error}"
            return cls(folder, results, None, name, " ".join(lost.split()))
        return cls(folder, results, recipe, recipe.name)

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """The images that are done, the worst mIoU first; those without one last, in order."""
        return sorted(self.results.done, key=_rank)

    @property
    def scored(self) -> bool:
        """Whether any image has an mIoU."""
        return any(miou(outcome) is not None for outcome in self.results.done)

    @property
    def threshold(self) -> float | None:
        """DiffSeg's first, or None if it isn't DiffSeg that groups."""
        group = self.recipe.group if self.recipe else None
        return group.passes[0] if isinstance(group, DiffSeg) else None

    def has_maps(self, image: str) -> bool:
        """Whether an image's maps were kept."""
        return self.folder.has_maps(image)

    def maps(self, image: str) -> KeptMaps:
        """An image's picture and pooled attention.

        Raises:
            RunError: none were kept, or they can't be read.
        """
        return load_maps(self._inside(self.folder.maps(image)))

    def overlay(self, image: str, side: int) -> bytes:
        """An image's overlay as JPEG, at most `side` pixels a side.

        Raises:
            AttnProbeError: it isn't there any more, or can't be read.
        """
        picture = read_image(self._inside(self.folder.overlay(image)))
        picture.thumbnail((side, side))
        return _jpeg(picture)

    def names(self, image: str) -> list[LegendLine]:
        """What an image's segments are called, the largest first; none where nobody named them.

        Raises:
            RunError: the file can't be read.
        """
        return load_names(self._inside(self.folder.names(image))) or []

    def word_maps(self, image: str, side: int) -> list[tuple[str, bytes]]:
        """Each word and its map over the picture as JPEG, at most `side` pixels a side.

        Raises:
            RunError: none were kept, or they can't be read.
        """
        if not self.folder.has_words(image):
            return []
        kept = load_words(self._inside(self.folder.words(image)))
        kept.picture.thumbnail((side, side))
        return [
            (word, _jpeg(heat(kept.picture, each.numpy())))
            for word, each in zip(kept.maps.words, kept.maps.maps, strict=True)
        ]

    def payload(self, image: str, levels: Sequence[float] = ()) -> dict[str, Any]:
        """What the explorer shows of an image: its pooled maps and the run's own segments.

        Args:
            image: its name.
            levels: thresholds that the slider goes through; where regrouping fails, there is none.

        Raises:
            AttnProbeError: no maps were kept, or a file can't be read.
        """
        kept = self.maps(image)
        labels = Segmentation(load_labels(self._inside(self.folder.labels(image))))
        try:
            regrouped = [(level, self._regroup(kept, level).labels) for level in levels]
        except RunError:
            regrouped = []
        layer = Maps("aggregated", kept.field.grid, _coarse(kept.field.rows)[None, None])
        return explorer_payload(
            kept.picture,
            [layer],
            labels.resized(_at_most(labels.size, _LABELS_SIDE)),
            regrouped,
            title=image,
            threshold=self.threshold,
        )

    def regrouped(self, image: str, threshold: float) -> Segmentation:
        """An image's segments with another threshold in all passes, from its pooled maps.

        Raises:
            AttnProbeError: no maps were kept, the recipe's grouper has no thresholds, or a stage
                fails.
        """
        return self._regroup(self.maps(image), threshold)

    def _regroup(self, kept: KeptMaps, threshold: float) -> Segmentation:
        recipe = self.recipe
        if recipe is None:
            raise RunError(f"{self.folder.path}: {self.lost}")
        if not isinstance(recipe.group, DiffSeg):
            raise RunError(f"{self.folder.path}: its grouper has no thresholds; only diffseg has")
        stages = recipe.group.with_threshold(threshold), recipe.refine
        try:
            segmentation = group_and_refine(kept.field, kept.picture, *stages, recipe.seed)
        except Exception as error:  # a plug-in's refiner may fail as it likes on pooled maps
            why = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise RunError(f"{self.folder.path}: can't be regrouped: {why}") from error
        size = (kept.picture.height, kept.picture.width)
        return segmentation.resized(_at_most(size, _LEVEL_SIDE))

    def _inside(self, path: Path) -> Path:
        """The path, if it leads to somewhere in the run's folder."""
        try:
            place = path.resolve()
        except (OSError, RuntimeError):  # which of them a link to itself makes changes with Python
            raise RunError(f"{path}: can't be read: a link that leads in a circle") from None
        if not place.is_relative_to(self.folder.path.resolve()):
            raise RunError(f"{path}: leads out of the run's folder")
        return path


def miou(outcome: Outcome) -> float | None:
    """An image's mIoU; None without truth."""
    value = outcome.scores.miou if outcome.scores else math.nan
    return None if math.isnan(value) else value


def _rank(outcome: Outcome) -> float:
    score = miou(outcome)
    return math.inf if score is None else score


def numbers_of(outcome: Outcome) -> str:
    """An image's numbers in a line."""
    score = miou(outcome)
    count = f"{outcome.segments} segment{'s' * (outcome.segments != 1)}"
    return count if score is None else f"mIoU {score:.3f}, {count}"


def _jpeg(picture: Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def _at_most(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _coarse(rows: torch.Tensor) -> torch.Tensor:
    """Each row on 64 steps up to its largest entry: no eye sees it, and it deflates far better."""
    step = rows.max(1, keepdim=True).values / 63
    return (rows / step).round() * step
