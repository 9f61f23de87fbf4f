"""The command that begins a component of your own: `new`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnprobe.cli.root import app
from attnprobe.cli.terminal import Debug, told


@app.command()
def new(
    kind: Annotated[
        str,
        typer.Argument(metavar="KIND", help="grouper, aggregator, refiner, labeller or source."),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as my_method.")],
    to: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The package's folder; by default NAME, here."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a package with a component of your own that works.

    A test and a recipe are in it.
    """
    with told(debug):
        from attnprobe.templates import write_package

        for path in write_package(kind, name, to):
            print(path)
