"""The command line's root; each file beside it adds its commands."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

app = typer.Typer(
    help="Probe the attention of diffusion models: capture, aggregate, group, score.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; ends with SystemExit: 0, 1 if images failed, 2 if nothing could run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no "×" shows a "?"
    app(args=arguments, prog_name="attnprobe")


def _print_version(wanted: bool) -> None:
    if wanted:
        import attnprobe

        print(f"attnprobe {attnprobe.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Say the version and exit."
        ),
    ] = False,
) -> None:
    """Options of all commands."""
