"""The command that hands a run's masks to other programs: `export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from attnprobe.cli.root import app
from attnprobe.cli.terminal import Debug, told


class Format(StrEnum):
    """Forms of masks."""

    coco = "coco"
    coco_panoptic = "coco-panoptic"
    rle = "rle"
    npy = "npy"
    voc = "voc"
    labelstudio = "labelstudio"
    yolo_seg = "yolo-seg"


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    form: Annotated[Format, typer.Option("--format", help="What the other program reads.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="A new folder; RUN/export/FORMAT."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a run's masks in a form that other programs read."""
    with told(debug):
        from attnprobe.export import export_run

        print(export_run(run, form.value, output))
