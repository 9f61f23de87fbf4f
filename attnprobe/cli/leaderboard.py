"""The command about scores beside those of papers: `leaderboard`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from attnprobe.cli.app import app
from attnprobe.cli.terminal import Debug, told
from attnprobe.errors import RunError


class Format(StrEnum):
    """Forms of a leaderboard."""

    text = "text"
    markdown = "markdown"
    csv = "csv"


@app.command()
def leaderboard(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN]...", help="Runs' or sweeps' folders.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this dataset, such as coco-stuff-27.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How it is printed.")] = Format.text,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw it too: a .png, .pdf or .svg.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Show the scores of runs beside published ones, and where protocols differ."""
    with told(debug):
        from attnprobe.evaluate import leaderboard_view as view
        from attnprobe.evaluate.leaderboard import leaderboard as tables_of
        from attnprobe.run.display import console
        from attnprobe.run.folder import RunFolder
        from attnprobe.run.measured import measured
        from attnprobe.run.sweep import runs_of

        rows, unscored = [], []
        for folder in (run for path in runs or [] for run in runs_of(RunFolder(path))):
            try:
                rows.append(measured(folder))
            except RunError as error:
                unscored.append(error)
        if unscored and not rows:
            raise unscored[0]
        for left_out in unscored:
            typer.echo(f"note: {left_out}", err=True)
        tables = tables_of(rows, dataset)
        if plot is not None:
            view.plot(tables, plot)
        if form is Format.csv:
            typer.echo(view.comma_separated(tables), nl=False)
            for warning in (warning for table in tables for warning in table.warnings):
                typer.echo(f"warning: {warning}", err=True)
        elif form is Format.markdown:
            typer.echo("\n".join(view.markdown(table) for table in tables), nl=False)
        else:
            for number, table in enumerate(tables):
                if number:
                    typer.echo()
                view.show_table(table, console())
