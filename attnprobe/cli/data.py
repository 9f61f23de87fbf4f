"""The commands about datasets: `data check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attnprobe.cli.root import App, app
from attnprobe.cli.terminal import Debug, print_columns, tell, told
from attnprobe.errors import AttnProbeError
from attnprobe.files import printable

if TYPE_CHECKING:
    from attnprobe.data.inventory import Inventory

data = App("The datasets that runs take images from.", no_args_is_help=True)
app.add_typer(data, name="data")


@data.command()
def check(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A source, such as coco-stuff-27 or folder.")
    ],
    root: Annotated[str, typer.Option(metavar="DIR", help="Its folder; of hf, a name on the hub.")],
    split: Annotated[
        str | None, typer.Option(metavar="SPLIT", help="Such as val; its first by default.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another key, such as ids=list.txt."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The picture of samples; NAME-samples.png by default."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Say what of a dataset is missing; show three samples.

    What is there is counted, and the samples are shown with their labels.
    """
    with told(debug):
        from attnprobe.data.sheet import save_sheet

        source = _source(name, root, split, changes or [])
        inventory = source.inventory()
        _show(name, inventory)
        faults: list[AttnProbeError] = []
        lacking = {name.rpartition("/")[2] for lack in inventory.lacks for name in lack.names}
        try:
            samples = [sample for sample in source() if sample.name not in lacking]
        except AttnProbeError as error:
            faults += [] if inventory.lacks else [error]
        else:
            path = save or Path(f"{name}-samples.png")
            shown, faults = save_sheet(samples, getattr(source, "classes", None), path)
            if shown:
                print(printable(f"samples: {path} shows {', '.join(shown)}"))
        for fault in faults:
            tell(fault, debug)
    raise typer.Exit(1 if inventory.lacks or faults else 0)


def _show(name: str, inventory: Inventory) -> None:
    """Print what there is and what is missing."""
    print(f"{name}:")
    print_columns([[what, f"{count:,}", where] for what, count, where in inventory.counts])
    if inventory.lacks:
        print("missing:")
        for lack in inventory.lacks:
            print(printable(f"  {lack.describe()}"))
    else:
        print("nothing is missing")


def _source(name: str, root: str, split: str | None, changes: list[str]) -> Any:
    """The source with its keys.

    Raises:
        AttnProbeError: there is no such source, it reads no files, or a key isn't right.
    """
    from attnprobe import registry
    from attnprobe.recipe.keys import recipe_fields
    from attnprobe.recipe.overrides import Override
    from attnprobe.recipe.schema import component
    from attnprobe.recipe.tree import Faults, Value

    found = registry.find("sources", name)
    if not hasattr(found, "inventory"):
        files = [e.name for e in registry.entries("sources") if hasattr(e.component, "inventory")]
        raise AttnProbeError(f"{name}: reads no files to be checked; allowed: {', '.join(files)}")
    keys = [field.name for field in recipe_fields(found)]
    given = [
        Override.to("use", name, name),
        Override.to("root" if "root" in keys else "path", root, f"--root {root}"),
        *([] if split is None else [Override.to("split", split, f"--split {split}")]),
        *map(Override.parse, changes),
    ]
    faults, value = Faults(), Value({}, name, name)
    for change in given:
        value = change.over(value, faults)
    source = component("sources", value, name, faults)
    faults.settle()
    return source
