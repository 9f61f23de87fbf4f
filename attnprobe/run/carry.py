"""A recipe over many images, one after the other."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from attnprobe.errors import AttnProbeError
from attnprobe.run.environment import environment
from attnprobe.run.folder import ENVIRONMENT, IMAGES, RECIPE, RunFolder
from attnprobe.run.outcome import Outcome, carry_image
from attnprobe.run.results import Results
from attnprobe.run.resume import Earlier, environment_notes, with_earlier

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
        folder: where everything goes, held locked by the caller.
        earlier: the run to go on with; without one, what the folder holds is replaced.

    Attributes:
        results: what has been found.
        left: the images that are still to be done, failed ones among them.
        notes: what changed since the run began.
    """

    def __init__(
        self,
        recipe: Recipe,
        samples: Sequence[Sample],
        pipeline: Pipeline,
        folder: RunFolder,
        earlier: Earlier | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.folder = folder
        self._samples = {sample.name: sample for sample in samples}
        now = environment(recipe.seed, pipeline.model.describe())
        if earlier is None:
            self.results = Results(folder, recipe.name, self._samples)
            self.notes: list[str] = []
            folder.clear()
            folder.write_json(ENVIRONMENT, now)
        else:
            self.results = earlier.results
            before = folder.read_json(ENVIRONMENT, {})
            changed = environment_notes(before, now)
            self.notes = [*earlier.notes, *changed]
            if changed:
                folder.write_json(ENVIRONMENT, with_earlier(before, now))
        folder.write_json(IMAGES, self.results.images)
        recipe.save(folder.path / RECIPE)  # the last of these: with it, the run has begun
        folder.make_subfolders()
        self.left = self.results.left

    def __iter__(self) -> Generator[Outcome]:
        """Carry the recipe over the images left; each outcome is kept before it is given out.

        However it ends, the run's files are written as far as they can be.

        Raises:
            AttnProbeError: the folder can't be written any more.
        """
        try:
            for name in self.left:
                sample = self._samples.get(name)
                outcome = carry_image(self.pipeline, sample, self.folder) if sample else gone(name)
                self.results.add(outcome)
                yield outcome
        except BaseException:  # Ctrl-C, a full disk, or nobody asks for the next image
            with suppress(AttnProbeError):  # what can't be written now is in the journal
                self.results.write()
            raise
        self.results.write()


def gone(image: str) -> Outcome:
    """The failure of an image that was listed when the run began and isn't any more."""
    return Outcome(image, image, 0.0, error=f"{image}: no longer among the images of its source")
