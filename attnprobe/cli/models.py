"""The commands about models: `layers`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from attnprobe.cli.root import app
from attnprobe.cli.run import model_named
from attnprobe.cli.terminal import Debug, print_columns, quieten, told


@app.command()
def layers(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A preset, org/name on the hub, or a folder.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """List a model's attention layers; no weights are read."""
    with told(debug):
        model_named(model)
        quieten(debug)
        from attnprobe.hooks.table import layer_table
        from attnprobe.models.skeleton import example_inputs, skeleton

        denoiser = skeleton(model)
        rows = layer_table(denoiser, example_inputs(denoiser))
        if as_json:
            print(json.dumps(rows, indent=2))
            return
        print(f"{model}: {type(denoiser).__name__}, {len(rows)} attention layers")
        head = ["name", "index", "kind", "block", "heads", "grid", "head mean"]
        print_columns([head, *map(_layer_row, rows)])


def _layer_row(row: dict[str, Any]) -> list[str]:
    """A layer's cells; the last is the size of its head mean, or why it has none."""
    from attnprobe.units import format_bytes

    grid = "×".join(map(str, row["grid"] or ()))
    size = "" if row["bytes"] is None else format_bytes(row["bytes"])
    plain = [row["name"], row["index"], row["kind"], row["block"], row["heads"], grid]
    return [str(cell) if cell not in (None, "") else "–" for cell in [*plain, row["mute"] or size]]
