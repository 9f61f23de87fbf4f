"""The commands that compute: `run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from attnprobe.cli.app import app
from attnprobe.cli.terminal import STOPPED, Debug, quieten, told
from attnprobe.errors import AttnProbeError


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
    with told(debug):
        said = _said(images=images, model=model, device=device, dtype=dtype)
        failed = _run(recipe, [*said, *(changes or [])], output, quiet, debug)
    raise typer.Exit(1 if failed else 0)


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
    quieten(debug)
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
        changes.append(Override.to("model", model_named(model), f"--model {model}"))
    if device is not None:
        changes.append(Override.to("model.device", device, f"--device {device}"))
    if dtype is not None:
        changes.append(Override.to("model.dtype", dtype, f"--dtype {dtype}"))
    if images is not None:
        source = {"use": "folder", "path": images}
        changes.append(Override.to("images", [source], f"--images {images}"))
    return changes


def model_named(given: str) -> dict[str, str]:
    """A preset, a folder or a hub name, as a recipe says it."""
    from attnprobe.models.presets import PRESETS
    from attnprobe.registry import did_you_mean

    if given in PRESETS:
        return {"preset": given}
    if "/" in given or Path(given).is_dir():
        return {"repo": given}
    known = did_you_mean(given, list(PRESETS))
    raise AttnProbeError(f"unknown preset {given!r}{known}; or a folder, or org/name on the hub")
