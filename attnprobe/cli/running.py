"""Runs as the commands carry them: a bar, sentences, and how to go on after Ctrl-C."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from attnprobe.cli.terminal import STOPPED, quieten
from attnprobe.errors import AttnProbeError
from attnprobe.files import printable
from attnprobe.run.watch import Watch

if TYPE_CHECKING:
    from attnprobe.recipe import Recipe
    from attnprobe.recipe.sweep import Point
    from attnprobe.run.carry import Run
    from attnprobe.run.folder import RunFolder
    from attnprobe.run.outcome import Outcome
    from attnprobe.run.results import Results


class Progress(Watch):
    """What runs say on standard error while they go.

    Args:
        typed: the command without its folder, for the hint how to go on.
        quiet: say nothing.
        debug: show tracebacks and libraries' messages.
    """

    def __init__(self, typed: Sequence[str], quiet: bool = False, debug: bool = False) -> None:
        from rich.console import Console

        self.typed = typed
        self.quiet = quiet
        self.debug = debug
        self._errors = Console(stderr=True, quiet=quiet)
        self._points = ""
        self._results: Results | None = None

    def loading(self, recipe: Recipe) -> AbstractContextManager[Any]:
        """A line while a model is loaded."""
        quieten(self.debug)
        return self._errors.status(f"loading {recipe.model.preset or recipe.model.repo} …")

    def note(self, sentence: str) -> None:
        """A line that says what changed."""
        line = printable(f"note: {sentence}")
        self._errors.print(line, markup=False, highlight=False, soft_wrap=True)

    def point(self, number: int, count: int) -> None:
        """Keep how many points are done, for the hint."""
        self._points = f"{number} of {count} points and "

    @contextmanager
    def running(self, run: Run, title: str) -> Iterator[Callable[[Outcome], None]]:
        """A bar."""
        from attnprobe.view.terminal.runs import progress

        self._results = run.results
        with progress(self._errors, visible=not self.quiet) as bar:
            total = len(run.results.images)
            task = bar.add_task(title, total=total, completed=total - len(run.left))

            def told(outcome: Outcome) -> None:
                bar.advance(task)
                if self.debug and outcome.trace:
                    self._errors.print(outcome.trace, markup=False, highlight=False)

            yield told

    @contextmanager
    def resumable(self, folder: RunFolder) -> Iterator[None]:
        """Say what is kept and how to go on, whether Ctrl-C or a full disk stops the block."""
        go_on = shlex.join([*self.typed, "--resume", "-o", str(folder.path)])
        try:
            yield
        except KeyboardInterrupt:
            if self._results is None and not self._points:
                raise
            kept = f"stopped: {self._kept()} are done and kept in {folder.path}"
            for line in (kept, f"go on with: {go_on}"):
                typer.echo(printable(line), err=True)
            raise typer.Exit(STOPPED) from None
        except AttnProbeError as error:
            if self._results is None:
                raise
            kept = f"{self._kept()} are done and kept; go on with: {go_on}"
            raise type(error)(f"{error}\n{kept}") from error

    def _kept(self) -> str:
        if self._results is None:
            return f"{self._points}no images"
        done, images = len(self._results.done), len(self._results.images)
        return f"{self._points}{done} of {images} images"


def typed(*words: str, options: Mapping[str, object]) -> list[str]:
    """A command as it was typed, with the options that were given."""
    given = [
        str(word) for name, value in options.items() if value is not None for word in (name, value)
    ]
    return ["attnprobe", *words, *given]


def chosen_folder(name: str, output: Path | None, resume: bool) -> RunFolder:
    """The folder given, else the newest of a recipe to go on with, else a new one."""
    from attnprobe.run.folder import RunFolder

    if resume and output is None:
        return RunFolder.latest(name)
    return RunFolder.choose(name, output)


def run_and_show(
    points: Sequence[Point],
    folder: RunFolder,
    progress: Progress,
    resume: bool = False,
    cached: bool = True,
    max_failures: int | None = None,
) -> bool:
    """Run a recipe or its sweep, and print what was found; whether any image failed.

    Raises:
        AttnProbeError: see `run_points`; what is kept and how to go on is told too.
    """
    from attnprobe.run.points import run_points
    from attnprobe.run.sweep import Sweep
    from attnprobe.view.terminal.console import console
    from attnprobe.view.terminal.runs import show_results, show_sweep

    sweep, most = bool(points[0].label), max_failures
    with progress.resumable(folder):
        found = run_points(
            points, folder, resume=resume, cached=cached, max_failures=most, watch=progress
        )
        if not sweep:
            _report(folder, found)
    if progress.quiet:
        print(folder.path)
    elif not found:
        count = len(points) if sweep else folder.summary().get("images", 0)
        what = "points" if sweep else "images"
        print(f"complete: all {count} {what} are done in {folder.path}")
    elif sweep:
        show_sweep(Sweep(points, folder), console())
    else:
        show_results(found[0], console())
    return any(results.failed for results in found)


def _report(folder: RunFolder, found: list[Results]) -> None:
    """Write the report of a run that went on, or that was killed between its scores and it."""
    from attnprobe.run.folder import REPORT
    from attnprobe.view.report import write_report

    if (found and found[0].done) or not (found or (folder.path / REPORT).exists()):
        write_report(folder.path)
