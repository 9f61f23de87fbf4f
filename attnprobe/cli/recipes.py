"""The commands about recipes and components: `validate`, `show`, `list`, `describe`, …."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnprobe.cli.root import App, app
from attnprobe.cli.terminal import Debug, print_columns, quieten, tell, told
from attnprobe.errors import AttnProbeError, did_you_mean

shipped_recipes = App(
    "List the recipes that come with attnprobe, or copy one.", invoke_without_command=True
)


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Recipes to check.")],
    debug: Debug = False,
) -> None:
    """Check recipes, and what a run of them would meet first.

    Every point of a sweep is checked: images are listed, the device is tried, layers are looked
    for. No model is loaded.
    """
    bad = False
    with told(debug):
        from attnprobe.recipe import load_points
        from attnprobe.run.foresee import foreseen

        quieten(debug)
        for file in files:
            try:
                points = load_points(file)
                faults = foreseen(points)
                if faults:
                    raise AttnProbeError("\n".join(f"{file}: {fault}" for fault in faults))
            except AttnProbeError as error:
                bad = True
                tell(error, debug)
            else:
                print(f"{file}: ok" + (f", {len(points)} points" if points[0].label else ""))
    raise typer.Exit(2 if bad else 0)


@app.command()
def show(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe's file, or a shipped recipe's name.")
    ],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key, such as group.anchors=8."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Print a whole recipe, and where each value comes from."""
    with told(debug):
        from attnprobe.recipe.annotated import annotated_yaml

        typer.echo(annotated_yaml(recipe, changes or []), nl=False)


@app.command("list")
def list_components(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND", help="sources, aggregators, groupers, refiners or labellers."
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """List the components a recipe can name, ours and plug-ins'."""
    with told(debug):
        from attnprobe import registry

        if kind is not None and kind not in registry.KINDS:
            near = did_you_mean(kind, list(registry.KINDS))
            raise AttnProbeError(f"unknown kind {kind!r}{near}")
        for each in [kind] if kind else registry.KINDS:
            print(f"{each}:")
            print_columns([[e.name, e.summary, e.package] for e in registry.entries(each)])


@app.command()
def describe(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Such as groupers.diffseg, diffseg, probe or model."),
    ],
    debug: Debug = False,
) -> None:
    """Describe the keys of a component or of a recipe's section."""
    with told(debug):
        from attnprobe.recipe.description import describe

        typer.echo(describe(name), nl=False)


@app.command()
def schema(
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write it here, not to the terminal."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Print the JSON Schema of recipes, which editors check by."""
    with told(debug):
        from attnprobe.files import write_whole
        from attnprobe.recipe.json_schema import schema_text

        if output is None:
            typer.echo(schema_text(), nl=False)
            return
        with write_whole(output) as temporary:
            temporary.write_text(schema_text(), encoding="utf-8")


@shipped_recipes.callback()
def recipes(context: typer.Context, debug: Debug = False) -> None:
    """List the recipes that come with attnprobe, or copy one."""
    if context.invoked_subcommand is not None:
        return
    with told(debug):
        from attnprobe.recipe.shipped import first_comment, shipped

        print_columns([[name, first_comment(path)] for name, path in shipped().items()])


@shipped_recipes.command()
def copy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A shipped recipe.")],
    to: Annotated[
        Path | None, typer.Argument(metavar="TO", help="A new file, or a folder for it.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Copy a shipped recipe, to change it; nothing is ever overwritten."""
    with told(debug):
        from attnprobe.recipe.shipped import copy_shipped

        for path in copy_shipped(name, to):
            print(path)


app.add_typer(shipped_recipes, name="recipes")
