"""A recipe over many images, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from attnprobe.run.environment import environment
from attnprobe.run.folder import ENVIRONMENT, RECIPE, RunFolder
from attnprobe.run.outcome import Outcome, carry_image
from attnprobe.run.results import Results

if TYPE_CHECKING:
    from attnprobe.data.base import Sample
    from attnprobe.pipeline import Pipeline
    from attnprobe.recipe import Recipe


class Run:
    """A recipe on its way over its images.

    Args:
        recipe: what is run.
        samples: the images, as `recipe.samples()` lists them.
        pipeline: the stages, as `recipe.build()` makes them.
        folder: where everything goes; what an earlier run left there is removed.
    """

    def __init__(
        self, recipe: Recipe, samples: Sequence[Sample], pipeline: Pipeline, folder: RunFolder
    ) -> None:
        self.samples = samples
        self.pipeline = pipeline
        self.folder = folder
        self.results = Results(folder, recipe.name, len(samples))
        folder.clear()
        recipe.save(folder.path / RECIPE)
        folder.write_json(ENVIRONMENT, environment(recipe.seed, pipeline.model.describe()))
        self.results.write()

    def __iter__(self) -> Iterator[Outcome]:
        """Carry the recipe over the images; each outcome is on disk before it is given out."""
        for sample in self.samples:
            outcome = carry_image(self.pipeline, sample, self.folder)
            self.results.add(outcome)
            yield outcome
