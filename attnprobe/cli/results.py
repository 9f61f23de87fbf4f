"""The commands about runs that are there: `compare`, `rerun`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnprobe.cli.root import app
from attnprobe.cli.running import Progress, run_and_show
from attnprobe.cli.terminal import Debug, told
from attnprobe.errors import RunError


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Runs' or sweeps' folders.")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with overlays.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Compare the scores of runs on the images they share."""
    with told(debug):
        from attnprobe.run.compare import compare as compared
        from attnprobe.view.terminal.comparison import show_comparison, write_html
        from attnprobe.view.terminal.console import console

        comparison = compared(runs)
        if html is not None:
            write_html(comparison, html)
        show_comparison(comparison, console())


@app.command()
def rerun(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="The new run's folder.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print only the folder and the finding.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Repeat a run from its recipe, and tell if labels are equal."""
    with told(debug):
        from attnprobe.recipe.sweep import load_points
        from attnprobe.run.folder import RECIPE, RunFolder
        from attnprobe.run.rerun import repetition
        from attnprobe.run.results import Results
        from attnprobe.run.sweep import runs_of

        first = RunFolder(run)
        if [each.path for each in runs_of(first)] != [run]:
            raise RunError(f"{run}: holds a sweep; rerun one of the folders in {run / 'points'}")
        points = load_points(run / RECIPE)
        Results.load(first)  # what can't be compared in the end is told at the start
        second = RunFolder.choose(points[0].recipe.name, output)
        if second.path.resolve() == run.resolve():
            raise RunError(f"{run}: a run can't be repeated into its own folder")
        # Without the cache, which would hand the first run's fields to the second.
        typed = ["attnprobe", "run", str(run / RECIPE), "--no-cache"]
        run_and_show(points, second, Progress(typed, quiet, debug), cached=False)
        found = repetition(first, second)
        print(found.describe())
    raise typer.Exit(0 if found.equal else 1)
