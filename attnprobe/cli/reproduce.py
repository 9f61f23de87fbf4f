"""The command that repeats published results: `reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from attnprobe.cli.root import app
from attnprobe.cli.run import model_named
from attnprobe.cli.running import Progress, chosen_folder, run_and_show, typed
from attnprobe.cli.terminal import Debug, quieten, told


@app.command()
def reproduce(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="diffseg-512, diffseg-320 or cityscapes.")
    ],
    root: Annotated[str, typer.Option(metavar="DIR", help="The dataset's folder.")],
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the first N images, as a trial.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="PRESET|REPO", help="Another model, at its own size; as a trial."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Where to compute: cpu, cuda, mps.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="The run's folder.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with DIR, or with the latest run.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Run a published setting; print measured beside published.

    The data is checked first.
    """
    with told(debug):
        from attnprobe.run.measured import measured
        from attnprobe.run.reproduce import Reproduction, points_of, setting
        from attnprobe.view.terminal.console import console
        from attnprobe.view.terminal.reproduction import show_reproduction

        chosen = setting(name)
        points = points_of(chosen, root, limit, _overrides(model, device))
        quieten(debug)
        folder = chosen_folder(points[0].recipe.name, output, resume)
        given = {"--root": root, "--limit": limit, "--model": model, "--device": device}
        progress = Progress(typed("reproduce", name, options=given), debug=debug)
        # Each image is looked at once, so that nothing would be taken from the cache.
        run_and_show(points, folder, progress, resume, cached=False)
        reproduction = Reproduction.of(measured(folder), chosen)
        show_reproduction(reproduction, console())
    raise typer.Exit(1 if reproduction.succeeded is False else 0)


def _overrides(model: str | None, device: str | None) -> list[Any]:
    """What the options change in the recipe; another model sees pictures at its own size."""
    from attnprobe.recipe import Override

    changes = []
    if model is not None:
        changes.append(Override.to("model", model_named(model), f"--model {model}"))
        changes.append(Override.to("probe.size", None, f"--model {model}"))
    if device is not None:
        changes.append(Override.to("model.device", device, f"--device {device}"))
    return changes
