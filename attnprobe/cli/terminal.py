"""What all commands share: errors as sentences, quiet libraries, plain columns."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, TextIO

import typer

from attnprobe.errors import AttnProbeError, PluginWarning, SettingWarning
from attnprobe.files import printable

STOPPED = 130
"""Exit status after Ctrl-C, as shells have it."""

Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and libraries' messages.")]


@contextmanager
def told(debug: bool) -> Iterator[None]:
    """Turn what goes wrong into a sentence and an exit status, and warnings of ours into notes."""
    show = warnings.showwarning
    warnings.showwarning = partial(_noted, set())
    try:
        yield
    except AttnProbeError as error:
        tell(error, debug)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise typer.Exit(STOPPED) from None
    except typer.Exit:
        raise
    except Exception as error:
        what = f"unexpected {type(error).__name__}: {error}; --debug shows the traceback"
        tell(AttnProbeError(" ".join(what.split())).with_traceback(error.__traceback__), debug)
        raise typer.Exit(2) from None
    finally:
        warnings.showwarning = show


def _noted(
    told_already: set[str],
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning as the terminal shows it: our own in a sentence, and each sentence once."""
    if issubclass(category, PluginWarning | SettingWarning):
        if str(message) not in told_already:
            typer.echo(f"note: {message}", err=True)
        told_already.add(str(message))
    else:
        typer.echo(warnings.formatwarning(message, category, filename, lineno), err=True, nl=False)


def tell(error: AttnProbeError, debug: bool) -> None:
    """Print an error's lines to standard error."""
    for line in str(error).splitlines():
        typer.echo(f"{typer.style('error:', fg='red')} {printable(line)}", err=True)
    if debug:
        traceback.print_exception(error)


def print_columns(rows: list[list[str]]) -> None:
    """Print rows in columns, a row a line."""
    from rich.table import Table
    from rich.text import Text

    from attnprobe.view.terminal.console import console

    table = Table(box=None, pad_edge=False, show_header=False)
    for name, *rest in rows:
        table.add_row(*(Text(printable(cell)) for cell in (f"  {name}", *rest)))
    console().print(table)


def quieten(debug: bool) -> None:
    """Keep the libraries' bars and advice off the terminal."""
    if debug:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "warning")  # loading a model is loud too
        return
    warnings.simplefilter("ignore")
    warnings.simplefilter("always", PluginWarning)
    warnings.simplefilter("once", SettingWarning)
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # read at import, as are these
    for library in ("DIFFUSERS", "TRANSFORMERS", "HF_HUB"):
        os.environ[f"{library}_VERBOSITY"] = "error"
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
