"""Runs as the commands carry them: a bar, sentences, and how to go on after Ctrl-C."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import typer

from attnprobe.cli.terminal import STOPPED, quieten
from attnprobe.errors import AttnProbeError
from attnprobe.files import printable

if TYPE_CHECKING:
    from attnprobe.data.base import Sample
    from attnprobe.pipeline import Pipeline
    from attnprobe.recipe import Recipe
    from attnprobe.recipe.sweep import Point
    from attnprobe.run.folder import RunFolder
    from attnprobe.run.results import Results
    from attnprobe.run.resume import Earlier
    from attnprobe.run.sweep import Sweep


@dataclass(frozen=True)
class Job:
    """How runs are carried.

    Args:
        typed: the command without its folder, for the hint how to go on.
        resume: whether to go on with what the folder holds.
        cached: whether fields are kept in the cache and taken from it.
        quiet: print only the folder.
        debug: show tracebacks and libraries' messages.
        max_failures: failures after which a run stops; by default ten of one kind from its start.
    """

    typed: tuple[str, ...]
    resume: bool = False
    cached: bool = True
    quiet: bool = False
    debug: bool = False
    max_failures: int | None = None

    def carry(self, points: Sequence[Point], folder: RunFolder) -> bool:
        """Carry a recipe, or each point of a sweep, over its images; whether any image failed.

        Raises:
            AttnProbeError: nothing can be run, or the folder can't be written any more.
        """
        samples = points[0].recipe.samples()
        with folder:
            if points[0].label:
                return self._sweep(points, samples, folder)
            return self._single(points[0].recipe, samples, folder)

    def _single(self, recipe: Recipe, samples: list[Sample], folder: RunFolder) -> bool:
        from attnprobe.run.display import console, show
        from attnprobe.run.folder import REPORT
        from attnprobe.view.report import write_report

        earlier = self._earlier(folder, recipe, samples)
        if earlier and earlier.results.complete:
            self._note(earlier.notes)
            if not (folder.path / REPORT).exists():  # killed between the scores and it
                write_report(folder.path)
            self._say(f"complete: all {len(samples)} images are done in {folder.path}", folder)
            return False
        pipeline = self._build(recipe)
        with self._resumable(folder) as stopped:
            results = self._run(recipe, samples, pipeline, folder, earlier, stopped)
        if self.quiet:
            print(folder.path)
        else:
            show(results, console())
        return bool(results.failed)

    def _sweep(self, points: Sequence[Point], samples: list[Sample], folder: RunFolder) -> bool:
        from attnprobe.run.display import console, show_sweep
        from attnprobe.run.resume import refuse_to_replace
        from attnprobe.run.sweep import Sweep

        if not self.resume:
            refuse_to_replace(folder)
        sweep = Sweep(points, folder)
        # Loaded before anything is written, so that a model that can't be had leaves nothing.
        pipeline = None if folder.is_sweep else self._build(points[0].recipe)
        with self._resumable(folder) as stopped:
            sweep.write()
            results = self._points(sweep, samples, pipeline, stopped)
        if not results:
            self._say(f"complete: all {len(points)} points are done in {folder.path}", folder)
        elif self.quiet:
            print(folder.path)
        else:
            show_sweep(sweep, console())
        return any(result.failed for result in results)

    def _points(
        self, sweep: Sweep, samples: list[Sample], pipeline: Pipeline | None, stopped: _Stopped
    ) -> list[Results]:
        """Run the points that are left; what they found."""
        from attnprobe.run.memory import read_once
        from attnprobe.run.resume import earlier_run
        from attnprobe.run.sweep import pipeline_for

        samples = read_once(samples)
        last, count = sweep.points[0].recipe, len(sweep.points)
        found = []
        for number, point in enumerate(sweep.points):
            stopped.points = f"{number} of {count} points and "
            with sweep.folder.point(point.label) as folder:
                earlier = earlier_run(folder, point.recipe, samples)
                if earlier and earlier.results.complete:
                    continue
                if pipeline is None:
                    pipeline = self._build(point.recipe)
                else:
                    pipeline = pipeline_for(point.recipe, last, pipeline)
                last = point.recipe
                title = f"{number + 1}/{count} {point.label}"
                found.append(self._run(last, samples, pipeline, folder, earlier, stopped, title))
            sweep.write()
        return found

    def _earlier(self, folder: RunFolder, recipe: Recipe, samples: list[Sample]) -> Earlier | None:
        from attnprobe.run.resume import earlier_run, refuse_to_replace

        if self.resume:
            return earlier_run(folder, recipe, samples)
        refuse_to_replace(folder)
        return None

    def _build(self, recipe: Recipe) -> Pipeline:
        quieten(self.debug)
        from attnprobe.cache import FieldCache

        with _errors(self.quiet).status(f"loading {recipe.model.preset or recipe.model.repo} …"):
            pipeline = recipe.build()
        return replace(pipeline, cache=FieldCache()) if self.cached else pipeline

    def _run(
        self,
        recipe: Recipe,
        samples: list[Sample],
        pipeline: Pipeline,
        folder: RunFolder,
        earlier: Earlier | None,
        stopped: _Stopped,
        title: str = "",
    ) -> Results:
        """Carry one recipe over its images; one with a title is a point of a sweep."""
        from attnprobe.run.carry import Run
        from attnprobe.run.display import progress

        errors = _errors(self.quiet)
        # A sweep is looked at as a whole, and its points would keep the same maps again and again.
        shown, most = not title, self.max_failures
        run = Run(recipe, samples, pipeline, folder, earlier, shown=shown, max_failures=most)
        stopped.results = run.results
        self._note(run.notes)
        with progress(errors, visible=not self.quiet) as bar, closing(iter(run)) as outcomes:
            total = len(run.results.images)
            done = total - len(run.left)
            task = bar.add_task(title or recipe.name, total=total, completed=done)
            for outcome in outcomes:
                bar.advance(task)
                if self.debug and outcome.trace:
                    errors.print(outcome.trace, markup=False, highlight=False)
        return run.results

    @contextmanager
    def _resumable(self, folder: RunFolder) -> Iterator[_Stopped]:
        """Say what is kept and how to go on, whether Ctrl-C or a full disk stops the block."""
        stopped = _Stopped()
        go_on = shlex.join([*self.typed, "--resume", "-o", str(folder.path)])
        try:
            yield stopped
        except KeyboardInterrupt:
            kept = f"stopped: {stopped.said()} are done and kept in {folder.path}"
            for line in (kept, f"go on with: {go_on}"):
                typer.echo(printable(line), err=True)
            raise typer.Exit(STOPPED) from None
        except AttnProbeError as error:
            if stopped.results is not None:
                kept = f"{stopped.said()} are done and kept; go on with: {go_on}"
                raise type(error)(f"{error}\n{kept}") from error
            raise

    def _note(self, notes: Sequence[str]) -> None:
        for note in notes:
            line = printable(f"note: {note}")
            _errors(self.quiet).print(line, markup=False, highlight=False, soft_wrap=True)

    def _say(self, sentence: str, folder: RunFolder) -> None:
        print(folder.path if self.quiet else sentence)


@dataclass
class _Stopped:
    """How far the runs are, for the sentence when they are stopped."""

    points: str = ""
    results: Results | None = None

    def said(self) -> str:
        if self.results is None:
            return f"{self.points}no images"
        return f"{self.points}{len(self.results.done)} of {len(self.results.images)} images"


def _errors(quiet: bool) -> Any:
    from rich.console import Console

    return Console(stderr=True, quiet=quiet)
