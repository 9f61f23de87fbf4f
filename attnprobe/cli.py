"""The command line, a thin face: what takes long to import is imported when a command needs it."""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from attnprobe.errors import AttnProbeError

app = typer.Typer(
    help="Probe the attention of diffusion models: capture, aggregate, group, score.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

STOPPED = 130
"""Exit status after Ctrl-C, as shells have it."""


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


Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and libraries' messages.")]


@app.command()
def run(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe's file, or a shipped recipe's name.")
    ],
    images: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="A file, a folder or a quoted pattern of your own."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="PRESET|REPO", help="A preset such as sd14, org/name, or a folder."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as group.anchors=8."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="The run's folder."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Where to compute: cpu, cuda, mps.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(metavar="DTYPE", help="float32, float16 or bfloat16.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the run's folder.")] = False,
    debug: Debug = False,
) -> None:
    """Carry a recipe over its images, or yours."""
    with _told(debug):
        said = _said(images=images, model=model, device=device, dtype=dtype)
        failed = _run(recipe, [*said, *(changes or [])], output, quiet, debug)
    raise typer.Exit(1 if failed else 0)


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recipes to check.")],
    debug: Debug = False,
) -> None:
    """Check recipes without running them."""
    bad = False
    with _told(debug):
        from attnprobe.recipe import load_recipe

        for file in files:
            try:
                load_recipe(file)
            except AttnProbeError as error:
                bad = True
                _tell(error, debug)
            else:
                print(f"{file}: ok")
    raise typer.Exit(2 if bad else 0)


@app.command("list")
def list_components(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="sources, aggregators, groupers or refiners."),
    ] = None,
    debug: Debug = False,
) -> None:
    """List the components a recipe can name, ours and plug-ins'."""
    with _told(debug):
        from attnprobe import registry

        if kind is not None and kind not in registry.KINDS:
            near = registry.did_you_mean(kind, list(registry.KINDS))
            raise AttnProbeError(f"unknown kind {kind!r}{near}")
        for each in [kind] if kind else registry.KINDS:
            print(f"{each}:")
            _print_columns([[e.name, e.summary, e.package] for e in registry.entries(each)])


@app.command()
def recipes(debug: Debug = False) -> None:
    """List the recipes that come with attnprobe."""
    with _told(debug):
        from attnprobe.recipe.shipped import first_comment, shipped

        _print_columns([[name, first_comment(path)] for name, path in shipped().items()])


@app.command()
def layers(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A preset, org/name on the hub, or a folder.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """List a model's attention layers, from its config alone: no weights are read."""
    with _told(debug):
        _model(model)
        _quieten(debug)
        from attnprobe.hooks.table import layer_table
        from attnprobe.models.skeleton import example_inputs, skeleton

        denoiser = skeleton(model)
        rows = layer_table(denoiser, example_inputs(denoiser))
        if as_json:
            print(json.dumps(rows, indent=2))
            return
        print(f"{model}: {type(denoiser).__name__}, {len(rows)} attention layers")
        head = ["name", "index", "kind", "block", "heads", "grid", "head mean"]
        _print_columns([head, *map(_layer_row, rows)])


def _layer_row(row: dict[str, Any]) -> list[str]:
    """A layer's cells; the last is the size of its head mean, or why it has none."""
    from attnprobe.hooks.plan import said

    grid = "×".join(map(str, row["grid"] or ()))
    size = "" if row["bytes"] is None else said(row["bytes"])
    plain = [row["name"], row["index"], row["kind"], row["block"], row["heads"], grid]
    return [str(cell) if cell not in (None, "") else "–" for cell in [*plain, row["mute"] or size]]


def _run(
    recipe_file: str, changes: list[Any], output: Path | None, quiet: bool, debug: bool
) -> bool:
    """Run, show, and say whether any image failed."""
    from rich.console import Console

    from attnprobe.recipe import load_recipe
    from attnprobe.run.carry import Run
    from attnprobe.run.display import console, progress, show
    from attnprobe.run.folder import RunFolder

    errors = Console(stderr=True, quiet=quiet)
    recipe = load_recipe(recipe_file, changes)
    samples = recipe.samples()
    folder = RunFolder.choose(recipe.name, output)
    _quieten(debug)
    try:
        with errors.status(f"loading {recipe.model.preset or recipe.model.repo} …"):
            pipeline = recipe.build()
        run = Run(recipe, samples, pipeline, folder)
    finally:
        folder.leave_if_empty()
    try:
        with progress(errors, visible=not quiet) as bar:
            task = bar.add_task(recipe.name, total=len(samples))
            for outcome in run:
                bar.advance(task)
                if debug and outcome.trace:
                    errors.print(outcome.trace, markup=False, highlight=False)
    except KeyboardInterrupt:
        done = f"{len(run.results.done)} of {len(samples)} images are done"
        print(f"stopped: {done} and kept in {folder.path}", file=sys.stderr)
        raise typer.Exit(STOPPED) from None
    if quiet:
        print(folder.path)
    else:
        show(run.results, console())
    return bool(run.results.failed)


def _said(
    images: str | None, model: str | None, device: str | None, dtype: str | None
) -> list[Any]:
    """What the options change in the recipe."""
    from attnprobe.recipe import Override

    changes = []
    if model is not None:
        changes.append(Override.to("model", _model(model), f"--model {model}"))
    if device is not None:
        changes.append(Override.to("model.device", device, f"--device {device}"))
    if dtype is not None:
        changes.append(Override.to("model.dtype", dtype, f"--dtype {dtype}"))
    if images is not None:
        source = {"use": "folder", "path": images}
        changes.append(Override.to("images", [source], f"--images {images}"))
    return changes


def _model(given: str) -> dict[str, str]:
    """A preset, a folder or a hub name, as a recipe says it."""
    from attnprobe.models.presets import PRESETS
    from attnprobe.registry import did_you_mean

    if given in PRESETS:
        return {"preset": given}
    if "/" in given or Path(given).is_dir():
        return {"repo": given}
    known = did_you_mean(given, list(PRESETS))
    raise AttnProbeError(f"unknown preset {given!r}{known}; or a folder, or org/name on the hub")


@contextmanager
def _told(debug: bool) -> Iterator[None]:
    """Turn what goes wrong into a sentence and an exit status."""
    try:
        yield
    except AttnProbeError as error:
        _tell(error, debug)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise typer.Exit(STOPPED) from None
    except (typer.Exit, BrokenPipeError):
        raise
    except Exception as error:
        what = f"unexpected {type(error).__name__}: {error}; --debug shows the traceback"
        _tell(AttnProbeError(" ".join(what.split())).with_traceback(error.__traceback__), debug)
        raise typer.Exit(2) from None


def _tell(error: AttnProbeError, debug: bool) -> None:
    for line in str(error).splitlines():
        typer.echo(f"{typer.style('error:', fg='red')} {line}", err=True)
    if debug:
        traceback.print_exception(error)


def _print_columns(rows: list[list[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from attnprobe.run.display import console

    table = Table(box=None, pad_edge=False, show_header=False)
    for name, *rest in rows:
        table.add_row(Text(f"  {name}"), *map(Text, rest))
    console().print(table)


def _quieten(debug: bool) -> None:
    """Keep the libraries' bars and advice off the terminal."""
    if debug:
        return
    warnings.simplefilter("ignore")
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # read at import, as are these
    for library in ("DIFFUSERS", "TRANSFORMERS", "HF_HUB"):
        os.environ[f"{library}_VERBOSITY"] = "error"
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
