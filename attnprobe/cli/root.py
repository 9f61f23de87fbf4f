"""The command line's root; each file beside it adds its commands."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from attnprobe.cli.output import forgiving_streams

SECTIONS = {
    "Run": ("run", "rerun", "reproduce", "validate", "show", "recipes", "data", "cache"),
    "Look": ("view", "report", "export", "layers"),
    "Compare": ("compare", "evaluate", "leaderboard"),
    "Extend": ("list", "describe", "schema", "new"),
}
"""The commands by what one does with them, as --help lists them."""

RANGES = {
    r"\bx>=(\d+)": r"\1 or more",
    r"(\d+)<=x<=(\d+)": r"\1 to \2",
}


def in_words(name: str, help_text: str) -> tuple[str, str]:
    """An option's line of --help without the names of Python's types, its bounds in words."""
    for bounds, words in RANGES.items():
        help_text = re.sub(bounds, words, help_text)
    return re.sub(r" <[^>|]*>", "", name), help_text


def _write_parameters(command: TyperCommand | TyperGroup, ctx: Any, formatter: Any) -> None:
    """The sections of a command's arguments and options."""
    for title, kind in (("Arguments", "argument"), ("Options", "option")):
        found = [p for p in command.get_params(ctx) if p.param_type_name == kind]
        records = [record for p in found if (record := p.get_help_record(ctx))]
        if records:
            with formatter.section(title):
                formatter.write_dl([in_words(*record) for record in records])


class Command(TyperCommand):
    """A command whose help a person reads who doesn't know Python."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections of arguments and options."""
        _write_parameters(self, ctx, formatter)


class Group(TyperGroup):
    """Commands under one word, with help of the same kind."""

    def sections(self, ctx: Any) -> Mapping[str, Sequence[str]]:
        """The commands as they are listed: title -> names."""
        return {"Commands": self.list_commands(ctx)}

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections of options and commands."""
        _write_parameters(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section of commands for each thing one does."""
        width = max(map(len, self.list_commands(ctx)))
        for title, names in self.sections(ctx).items():
            with formatter.section(title):
                found = [(name, self.get_command(ctx, name)) for name in names]
                shown = [
                    (name, command.get_short_help_str(formatter.width - 6 - width))
                    for name, command in found
                    if command
                ]
                formatter.write_dl([(name.ljust(width), text) for name, text in shown])


class Root(Group):
    """All commands, by what one does with them."""

    def sections(self, ctx: Any) -> Mapping[str, Sequence[str]]:
        """Those of `SECTIONS`."""
        return SECTIONS


Function = TypeVar("Function", bound=Callable[..., Any])


class App(typer.Typer):
    """A group whose commands are such commands, and which is such a group."""

    def __init__(self, help: str, cls: type[TyperGroup] = Group, **options: Any) -> None:
        super().__init__(cls=cls, help=help, rich_markup_mode=None, **options)

    def command(self, *args: Any, **options: Any) -> Callable[[Function], Function]:
        """See `typer.Typer.command`."""
        return super().command(*args, **{"cls": Command, **options})


app = App(
    "Probe the attention of diffusion models: capture, aggregate, group, score.",
    cls=Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
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
