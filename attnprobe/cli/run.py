"""The commands that compute: `run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from attnprobe.cli.root import app
from attnprobe.cli.running import Progress, chosen_folder, run_and_show, typed
from attnprobe.cli.terminal import Debug, quieten, told
from attnprobe.errors import AttnProbeError
from attnprobe.files import printable


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
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with DIR, or with the recipe's latest run.")
    ] = False,
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Check data, model and memory; run nothing.")
    ] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Compute every field anew, and keep none.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first image that fails.")
    ] = False,
    max_failures: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Stop after N failures, of whatever kind."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the run's folder.")] = False,
    debug: Debug = False,
) -> None:
    """Run a recipe, or each point of its sweep, on images."""
    if not quiet:
        typer.echo(printable(f"reading {recipe} …"), err=True)  # what follows is imported first
    with told(debug):
        if fail_fast and max_failures not in (None, 1):
            raise AttnProbeError(
                f"--fail-fast is --max-failures 1; give one of them. Got {max_failures} too."
            )
        from attnprobe.recipe.sweep import load_points

        said = _overrides(images=images, model=model, device=device, dtype=dtype)
        points = load_points(recipe, [*said, *(changes or [])])
        if dry:
            quieten(debug)
            from attnprobe.run.dry import dry_run, show_checks

            checks = dry_run(points)
            show_checks(checks)
            raise typer.Exit(0 if all(check.passed for check in checks) else 2)
        given = {"--images": images, "--model": model, "--device": device, "--dtype": dtype}
        words = typed("run", recipe, options=given)
        words += [word for change in changes or [] for word in ("--set", change)]
        words += ["--no-cache"] if no_cache else []
        folder = chosen_folder(points[0].recipe.name, output, resume)
        progress = Progress(words, quiet, debug)
        most = 1 if fail_fast else max_failures
        failed = run_and_show(points, folder, progress, resume, not no_cache, most)
    raise typer.Exit(1 if failed else 0)


def _overrides(
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
    from attnprobe.errors import did_you_mean
    from attnprobe.models.presets import PRESETS

    if given in PRESETS:
        return {"preset": given}
    if "/" in given or Path(given).exists():
        return {"repo": given}
    known = did_you_mean(given, list(PRESETS))
    raise AttnProbeError(f"unknown preset {given!r}{known}; or a folder, or org/name on the hub")
