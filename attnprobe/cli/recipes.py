"""The commands about recipes and components: `validate`, `list`, `recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnprobe.cli.app import app
from attnprobe.cli.terminal import Debug, print_columns, tell, told
from attnprobe.errors import AttnProbeError


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recipes to check.")],
    debug: Debug = False,
) -> None:
    """Check recipes without running them."""
    bad = False
    with told(debug):
        from attnprobe.recipe import load_recipe

        for file in files:
            try:
                load_recipe(file)
            except AttnProbeError as error:
                bad = True
                tell(error, debug)
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
    with told(debug):
        from attnprobe import registry

        if kind is not None and kind not in registry.KINDS:
            near = registry.did_you_mean(kind, list(registry.KINDS))
            raise AttnProbeError(f"unknown kind {kind!r}{near}")
        for each in [kind] if kind else registry.KINDS:
            print(f"{each}:")
            print_columns([[e.name, e.summary, e.package] for e in registry.entries(each)])


@app.command()
def recipes(debug: Debug = False) -> None:
    """List the recipes that come with attnprobe."""
    with told(debug):
        from attnprobe.recipe.shipped import first_comment, shipped

        print_columns([[name, first_comment(path)] for name, path in shipped().items()])
