"""A recipe over its images, or a run for each point of its sweep, in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from attnprobe.cache import FieldCache
from attnprobe.run.carry import Run
from attnprobe.run.folder import RunFolder
from attnprobe.run.memory import read_once
from attnprobe.run.results import Results
from attnprobe.run.resume import earlier_run, refuse_to_replace
from attnprobe.run.sweep import Sweep, pipeline_for
from attnprobe.run.watch import Watch

if TYPE_CHECKING:
    from attnprobe.data.base import Sample
    from attnprobe.pipeline import Pipeline
    from attnprobe.recipe import Point, Recipe


def run_points(
    points: Sequence[Point],
    folder: RunFolder | str | Path,
    *,
    resume: bool = False,
    cached: bool = True,
    max_failures: int | None = None,
    watch: Watch | None = None,
) -> list[Results]:
    """Carry a recipe, or each point of its sweep, over its images.

    A model is loaded once for all points that have it, and pictures are read once.

    Args:
        points: as `load_points` lists them.
        folder: where everything goes, locked meanwhile.
        resume: whether to go on with what the folder holds; what is complete is left as it is.
        cached: whether fields are kept in the cache and taken from it.
        max_failures: failures after which a run stops; by default ten of one kind from its start.
        watch: who is told how it goes.

    Returns:
        What each run found that went on now: none where all were complete.

    Raises:
        AttnProbeError: nothing can be run, the folder holds what would be lost or can't be written
            any more, or too much has failed.
    """
    place = folder if isinstance(folder, RunFolder) else RunFolder(Path(folder))
    samples = points[0].recipe.samples()
    carrier = _Carrier(cached, max_failures, watch or Watch())
    with place:
        if not resume:
            refuse_to_replace(place)
        if points[0].label:
            return carrier.sweep(Sweep(points, place), samples)
        return carrier.single(points[0].recipe, samples, place, resume)


@dataclass(frozen=True)
class _Carrier:
    """How runs are carried; see `run_points`."""

    cached: bool
    max_failures: int | None
    watch: Watch

    def single(
        self, recipe: Recipe, samples: list[Sample], folder: RunFolder, resume: bool
    ) -> list[Results]:
        """One run, unless it is complete."""
        earlier = earlier_run(folder, recipe, samples) if resume else None
        if earlier and earlier.results.complete:
            for note in earlier.notes:
                self.watch.note(note)
            return []
        pipeline = self._build(recipe)
        run = Run(recipe, samples, pipeline, folder, earlier, max_failures=self.max_failures)
        return [self._over(run, recipe.name)]

    def sweep(self, sweep: Sweep, samples: list[Sample]) -> list[Results]:
        """A run for each point that isn't complete."""
        # Loaded before anything is written, so that a model that can't be had leaves nothing.
        begun, last, count = sweep.folder.is_sweep, sweep.points[0].recipe, len(sweep.points)
        pipeline = None if begun else self._build(last)
        sweep.write()
        samples = read_once(samples)
        found = []
        for number, point in enumerate(sweep.points):
            self.watch.point(number, count)
            with sweep.folder.point(point.label) as folder:
                earlier = earlier_run(folder, point.recipe, samples)
                if earlier and earlier.results.complete:
                    continue
                if pipeline is None:
                    pipeline = self._build(point.recipe)
                else:
                    pipeline = pipeline_for(point.recipe, last, pipeline)
                last, most = point.recipe, self.max_failures
                # Looked at as a whole; its points would keep the same maps again and again.
                run = Run(last, samples, pipeline, folder, earlier, maps=False, max_failures=most)
                found.append(self._over(run, f"{number + 1}/{count} {point.label}"))
            sweep.write()
        return found

    def _build(self, recipe: Recipe) -> Pipeline:
        with self.watch.loading(recipe):
            pipeline = recipe.build()
        return replace(pipeline, cache=FieldCache()) if self.cached else pipeline

    def _over(self, run: Run, title: str) -> Results:
        for note in run.notes:
            self.watch.note(note)
        with self.watch.running(run, title) as told, closing(iter(run)) as outcomes:
            for outcome in outcomes:
                told(outcome)
        return run.results
