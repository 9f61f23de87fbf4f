"""The command line's root; each file beside it adds its commands."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from attnprobe.cli.output import forgiving_streams

app = typer.Typer(
    help="Probe the attention of diffusion models: capture, aggregate, group, score.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; ends with SystemExit: 0, 1 if images failed, 2 if nothing could run.

    So it does, with a sentence, if what it prints can't be written.
    """
    status: Any = 0
    with forgiving_streams() as faults:
        try:
            app(args=arguments, prog_name="attnprobe")
        except SystemExit as end:
            status = end.code
        sys.stdout.flush()
        if faults:
            print(f"error: standard output can't be written: {faults[0].strerror}", file=sys.stderr)
            status = 2
    raise SystemExit(status)


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
