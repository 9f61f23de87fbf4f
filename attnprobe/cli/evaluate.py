"""The commands that score: `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from attnprobe.cli.root import app
from attnprobe.cli.terminal import Debug, quieten, told
from attnprobe.errors import AttnProbeError


@app.command()
def evaluate(
    predictions: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Labels, <image>.png or <image>.npy, of any program."),
    ],
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="The images' source, such as cityscapes-27.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="A recipe whose images are taken instead.")
    ] = None,
    root: Annotated[str | None, typer.Option(metavar="DIR", help="Where the dataset lies.")] = None,
    protocol: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="whole, released, diffcut, diffcut-voc or bsds."),
    ] = None,
    match: Annotated[
        str | None, typer.Option(metavar="MATCH", help="How segments meet classes: per-image, ….")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as images.split=val."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write scores: .json, or .csv by image."
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Score anybody's predictions against a dataset's truths."""
    with told(debug):
        if (dataset is None) == (recipe is None):
            raise AttnProbeError("give the images by --dataset NAME or by --recipe RECIPE")
        quieten(debug)
        from attnprobe.evaluate.prediction_scores import check_output
        from attnprobe.evaluate.predictions import evaluate_predictions
        from attnprobe.evaluate.scorer import Scorer, common_classes
        from attnprobe.recipe import load_recipe
        from attnprobe.view.terminal.console import console
        from attnprobe.view.terminal.scores import show_scores, watched

        if output is not None:
            check_output(output)
        said = _overrides(dataset, root, protocol, match)
        # A recipe checks what is said of images and of scores; of its other stages none is used.
        chosen = load_recipe(recipe or "diffseg", [*said, *(changes or [])])
        scorer = Scorer(chosen.evaluate.effective_protocol, common_classes(chosen.sources))
        found = evaluate_predictions(predictions, watched(chosen.samples()), scorer)
        if output is not None:
            found.save(output)
        show_scores(found, console())
    raise typer.Exit(1 if found.left_out else 0)


def _overrides(
    dataset: str | None, root: str | None, protocol: str | None, match: str | None
) -> list[Any]:
    """What the options change in the recipe."""
    from attnprobe.recipe import Override

    given = {
        "--dataset": ("images", dataset, {"use": dataset}),
        "--root": ("images.root", root, root),
        "--protocol": ("evaluate.protocol", protocol, protocol),
        "--match": ("evaluate.match", match, match),
    }
    return [
        Override.to(key, value, f"{option} {word}")
        for option, (key, word, value) in given.items()
        if word is not None
    ]
