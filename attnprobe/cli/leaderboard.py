"""The command about scores beside those of papers: `leaderboard`."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attnprobe.cli.root import app
from attnprobe.cli.terminal import Debug, told
from attnprobe.errors import RunError

if TYPE_CHECKING:
    from attnprobe.evaluate.people_rows import Method


class Format(StrEnum):
    """Forms of a leaderboard."""

    text = "text"
    markdown = "markdown"
    csv = "csv"


@app.command()
def leaderboard(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN", help="Runs' or sweeps' folders.")
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
    """Show the scores of runs beside those that were published.

    Where protocols differ it says so.
    """
    with told(debug):
        from attnprobe.evaluate.leaderboard import leaderboard_tables
        from attnprobe.run.folder import RunFolder
        from attnprobe.run.measured import measured
        from attnprobe.run.people import against_people
        from attnprobe.run.sweep import runs_of
        from attnprobe.view.terminal.console import console
        from attnprobe.view.terminal.leaderboard import (
            comma_separated,
            markdown,
            plot_leaderboard,
            show_table,
        )
        from attnprobe.view.terminal.people import people_csv, people_markdown, show_people

        rows, unscored, people = [], [], []
        for path in runs or []:
            method = against_people(RunFolder(path))
            if method is not None:
                people.append(method)
                continue
            for folder in runs_of(RunFolder(path)):
                try:
                    rows.append(measured(folder))
                except RunError as error:
                    unscored.append(error)
        if unscored and not (rows or people):
            raise unscored[0]
        for left_out in unscored:
            typer.echo(f"note: {left_out}", err=True)
        against = _against(people, dataset, shown=not rows)
        # Alone, scores against people are shown alone.
        people_alone = against and not rows and (people or dataset)
        tables = [] if people_alone else leaderboard_tables(rows, dataset)
        if plot is not None:
            if not tables:
                raise RunError(
                    f"{plot}: mIoU is what is drawn, and these runs are scored otherwise"
                )
            plot_leaderboard(tables, plot)
        if form is Format.csv:
            # Measures differ, and so do the columns: an empty line is between the two.
            parts = [comma_separated(tables)] if tables else []
            parts += [people_csv([m for methods in against for m in methods])] if against else []
            typer.echo("\n".join(parts), nl=False)
            for warning in (warning for table in tables for warning in table.warnings):
                typer.echo(f"warning: {warning}", err=True)
        elif form is Format.markdown:
            texts = [markdown(table) for table in tables]
            texts += [people_markdown(methods) for methods in against]
            typer.echo("\n".join(texts), nl=False)
        else:
            shown = [partial(show_table, table) for table in tables]
            shown += [partial(show_people, methods) for methods in against]
            for number, show in enumerate(shown):
                if number:
                    typer.echo()
                show(console())


def _against(people: list[Method], dataset: str | None, shown: bool) -> list[list[Method]]:
    """A table a dataset of scores against people: those of the runs, or of all that is published.

    Args:
        people: the runs' rows.
        dataset: the only one that is wanted.
        shown: whether published rows are shown where there are no runs.
    """
    from attnprobe.evaluate.people_rows import beside_published
    from attnprobe.evaluate.published import published

    names = dict.fromkeys(method.dataset for method in people)
    if not people and shown:
        names = dict.fromkeys(figure.dataset for figure in published().people)
    return [beside_published(people, name) for name in names if dataset in (None, name)]
