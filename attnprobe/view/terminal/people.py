"""Methods side by side against several people's truths, as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from attnprobe.evaluate.people_rows import Method
from attnprobe.evaluate.settings import MEASURES

TITLES = {"covering": "covering", "pri": "PRI", "vi": "VI", "boundary_f": "boundary F"}


def show_people(methods: Sequence[Method], console: Console) -> None:
    """Print the rows of a dataset."""
    table = Table(box=SIMPLE, show_edge=False, padding=(0, 1, 0, 0))
    head, rows = _cells(methods)
    for title in head:
        text = title in ("method", "", "setting", "source")
        table.add_column(title, justify="left" if text else "right", overflow="fold")
    for method, cells in zip(methods, rows, strict=True):
        table.add_row(*(Text(cell, "bold" if method.measured else "") for cell in cells))
    console.print(f"{methods[0].dataset}, against people", highlight=False)
    console.print(table)
    for line in _below(methods):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def people_markdown(methods: Sequence[Method]) -> str:
    """The rows of a dataset as a Markdown table, with what is to be said of them below."""
    head, rows = _cells(methods)
    lines = [
        f"| {' | '.join(c.replace('|', chr(92) + '|') for c in row)} |" for row in [head, *rows]
    ]
    lines.insert(1, "|---" * len(head) + "|")
    below = [f"- {line}" for line in _below(methods)]
    title = f"**{methods[0].dataset}**, against people"
    return "\n".join([title, "", *lines, "", *below]) + "\n"


def people_csv(methods: Sequence[Method]) -> str:
    """All rows as CSV, numbers unrounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = [f"{name}_{end}" for name in MEASURES for end in ("ods", "ois")]
    writer.writerow(["kind", "method", "dataset", *ends, "images", "settings", "setting", "source"])
    for method in methods:
        values: list[Any] = [_kind(method), method.name, method.dataset]
        values += [value for name in MEASURES for value in method.scores.get(name, (None, None))]
        values += [method.images, method.settings, method.setting, method.source]
        writer.writerow(["" if value is None else value for value in values])
    return text.getvalue()


def _cells(methods: Sequence[Method]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows; columns that would be empty are left out."""
    titles = ["method", ""]
    titles += [f"{TITLES[name]} {end}" for name in MEASURES for end in ("ODS", "OIS")]
    titles += ["images", "settings", "setting", "source"]
    rows = []
    for method in methods:
        cells = [method.name, _kind(method)]
        cells += [
            "" if value is None else f"{value:.3f}" if method.measured else f"{value:.2f}"
            for name in MEASURES
            for value in method.scores.get(name, (None, None))
        ]
        cells += ["" if n is None else str(n) for n in (method.images, method.settings)]
        rows.append([*cells, method.setting, method.source])
    kept = [i for i in range(len(titles)) if any(row[i] for row in rows)]
    return [titles[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _below(methods: Sequence[Method]) -> list[str]:
    said = [
        "ODS: the one setting that is best for all images, for each measure; OIS: the best of each "
        "image. VI is in bits, less is better."
    ]
    return said + [f"note: {method.name}: {note}" for method in methods for note in method.notes]


def _kind(method: Method) -> str:
    return "measured" if method.measured else "published"
