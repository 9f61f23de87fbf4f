"""A recipe over many images, one after the other."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from attnprobe.errors import AttnProbeError, RecipeError
from attnprobe.evaluate import Scorer, common_classes
from attnprobe.run.environment import environment
from attnprobe.run.folder import ENVIRONMENT, RECIPE, RunFolder
from attnprobe.run.listing import Listed
from attnprobe.run.outcome import Outcome, carry_image
from attnprobe.run.patience import Patience
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
        maps: whether pooled maps are kept, to look at the run by itself.
        max_failures: failures after which it stops; by default ten of one kind from the start on.

    Attributes:
        results: what has been found.
        left: the images that are still to be done, failed ones among them.
        notes: what changed since the run began.

    Raises:
        RecipeError: the recipe's images can't be scored as its `evaluate` says.
    """

    def __init__(
        self,
        recipe: Recipe,
        samples: Sequence[Sample],
        pipeline: Pipeline,
        folder: RunFolder,
        earlier: Earlier | None = None,
        maps: bool = True,
        max_failures: int | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.folder = folder
        self._maps = maps
        self._samples = {sample.name: sample for sample in samples}
        self._patience = Patience(max_failures, getattr(pipeline.model, "device", None))
        scorer = scorer_of(recipe)
        now = environment(recipe.seed, pipeline.model.describe())
        folder.refuse_links()
        if earlier is None:
            listed = [Listed(sample.name, sample.where) for sample in samples]
            self.results = Results(folder, recipe.name, listed, scorer)
            self.notes: list[str] = []
            replaced = Results.load(folder).done
            folder.clear()
            folder.remove_images(outcome.image for outcome in replaced)
            folder.write_json(ENVIRONMENT, now)
        else:
            self.results = earlier.results
            self.results.scorer = scorer
            before = folder.environment()
            changed = environment_notes(before, now)
            self.notes = [*earlier.notes, *changed]
            if changed:
                folder.write_json(ENVIRONMENT, with_earlier(before, now))
        if earlier is not None and earlier.outdated:
            folder.remove_images(earlier.outdated)
            self.results.write()
        self.results.write_list()
        recipe.save(folder.path / RECIPE)  # the last of these: with it, the run has begun
        folder.make_subfolders()
        self.left = self.results.left

    def __iter__(self) -> Generator[Outcome]:
        """Carry the recipe over the images left; each outcome is kept before it is given out.

        However it ends, the run's files are written as far as they can be.

        Raises:
            AttnProbeError: the folder can't be written any more, or too much has failed.
        """
        try:
            for number, name in enumerate(self.left, start=1):
                sample = self._samples.get(name)
                outcome = self._carry(sample) if sample else gone(name)
                if outcome.error is not None and self.results.has_done(name):
                    self.folder.remove_images([name])  # what it found is over
                self.results.add(outcome)
                yield outcome
                if number < len(self.left):  # else there is nothing left to stop
                    self._patience.take(outcome)
        except BaseException:  # Ctrl-C, a full disk, or nobody asks for the next image
            with suppress(AttnProbeError):  # what can't be written now is in the journal
                self.results.write()
            raise
        self.results.write()

    def _repr_html_(self) -> str:
        from attnprobe.notebook.tables import results_html

        return results_html(self.results)

    def _carry(self, sample: Sample) -> Outcome:
        scorer = self.results.scorer
        return carry_image(self.pipeline, sample, self.folder, scorer, with_maps=self._maps)


def scorer_of(recipe: Recipe) -> Scorer:
    """How a recipe's images are scored.

    Raises:
        RecipeError: its sources have different classes, or its `evaluate` doesn't fit them, or
            the part of an image that the probe sees.
    """
    protocol = recipe.evaluate.effective_protocol
    if protocol.match == "per-dataset":
        raise RecipeError(
            "evaluate.match: per-dataset is for segments whose numbers mean the same in all "
            "images, and a run numbers them anew in each; predictions that are so can be scored "
            "with attnprobe evaluate"
        )
    if protocol.crop and recipe.probe.fit != "crop":
        raise RecipeError(
            f"evaluate.protocol: {protocol.name} scores the centre square, so probe.fit must be "
            f"crop. Got {recipe.probe.fit} instead."
        )
    if protocol.people and recipe.probe.fit == "crop":
        raise RecipeError(
            f"evaluate.protocol: {protocol.name} scores whole pictures, so probe.fit must be "
            "resize. Got crop instead."
        )
    try:
        return Scorer(protocol, common_classes(recipe.sources))
    except AttnProbeError as error:
        raise RecipeError(f"evaluate: {error}") from None


def gone(image: str) -> Outcome:
    """The failure of an image that was listed when the run began and isn't any more."""
    return Outcome(image, image, 0.0, error=f"{image}: no longer among the images of its source")
