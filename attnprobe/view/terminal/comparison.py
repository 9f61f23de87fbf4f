"""A comparison of runs as a terminal and as a page of HTML show it."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from attnprobe.errors import AttnProbeError
from attnprobe.files import printable, write_whole
from attnprobe.pictures.reading import read_image
from attnprobe.run.compare import Comparison, Difference
from attnprobe.run.folder import RunFolder
from attnprobe.view.terminal.runs import fixed

TITLES = {"acc": "ACC", "miou": "mIoU", "segments": "segments"}
DIGITS = {"acc": 3, "miou": 3, "segments": 1}

EXPLAINED = "signed numbers: difference to the first run, with its 95 % interval (paired bootstrap)"

_WIDEST = 320
"""Pixels of a page's pictures along their longer side."""


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print the table of runs and the images in which they differ most."""
    table = _table("run", list(TITLES.values()))
    for cells in _score_cells(comparison):
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console.print(f"{len(comparison.images)} images in common", highlight=False)
    console.print(table)
    if len(comparison.rows) > 1:
        console.print(EXPLAINED, soft_wrap=True, highlight=False)
    for note in comparison.notes:
        console.print(printable(f"note: {note}"), soft_wrap=True, highlight=False, markup=False)
    differing = comparison.differing()
    if differing:
        title = TITLES[comparison.decisive]
        console.print(f"\nmost different in {title}:", highlight=False)
        names = [str(i) for i in range(1, len(comparison.runs) + 1)]
        table = _table("image", names)
        for image, values in differing:
            numbers = [fixed(value, DIGITS[comparison.decisive]) for value in values]
            table.add_row(*(Text(printable(cell)) for cell in (image, *numbers)))
        console.print(table)


def _score_cells(comparison: Comparison) -> list[list[str]]:
    """The cells of the table of runs: number and name, then a cell a measure."""
    rows = []
    for number, row in enumerate(comparison.rows, start=1):
        cells = [f"{number}  {row.name}"]
        for measure, digits in DIGITS.items():
            cell = fixed(row.means[measure], digits)
            if measure in row.differences:
                cell += _describe_difference(row.differences[measure], digits)
            cells.append(cell)
        rows.append(cells)
    return rows


def write_html(comparison: Comparison, path: Path) -> None:
    """Write the comparison as a page that needs no other file, overlays included.

    Raises:
        AttnProbeError: the file can't be written.
    """
    environment = Environment(
        loader=PackageLoader("attnprobe.view", ""), autoescape=True, undefined=StrictUndefined
    )
    decisive = comparison.decisive
    images = [
        (
            image,
            [
                (fixed(value, DIGITS[decisive]), _picture(run, image))
                for value, run in zip(values, comparison.runs, strict=True)
            ],
        )
        for image, values in comparison.differing()
    ]
    page = environment.get_template("compare.html.jinja").render(
        titles=list(TITLES.values()),
        rows=_score_cells(comparison),
        count=len(comparison.images),
        explained=EXPLAINED if len(comparison.rows) > 1 else "",
        notes=comparison.notes,
        decisive=TITLES[decisive],
        images=images,
    )
    with write_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _describe_difference(difference: Difference, digits: int) -> str:
    if math.isnan(difference.value):
        return ""
    value, low, high = (
        f"{number:+.{digits}f}" for number in (difference.value, difference.low, difference.high)
    )
    return f"  {value} [{low}, {high}]"


def _table(first: str, others: list[str]) -> Table:
    table = Table(box=SIMPLE, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, overflow="fold")
    return table


def _picture(run: RunFolder, image: str) -> str:
    """An overlay as a data address, made small; empty if it isn't there any more."""
    try:
        picture = read_image(run.overlay(image))
    except AttnProbeError:
        return ""
    picture.thumbnail((_WIDEST, _WIDEST))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
