"""Leaderboards as text, Markdown, CSV and a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnprobe.errors import AttnProbeError
from attnprobe.evaluate.leaderboard import LeaderboardEntry, Table
from attnprobe.extras import extra
from attnprobe.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Console

Column = tuple[str, Callable[[LeaderboardEntry], str]]

PLOTS = (".png", ".pdf", ".svg")
"""Suffixes of plots."""

_COLOURS = {True: "#0072b2", False: "#b4b4b4"}
"""Of measured and of published bars (Okabe and Ito's blue, and grey)."""


def show_table(table: Table, console: Console) -> None:
    """Print a leaderboard; columns that would be empty are left out."""
    from rich.box import SIMPLE
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=SIMPLE, show_edge=False, padding=(0, 1, 0, 0))
    columns = _columns(table)
    for title, _ in columns:
        text = title in ("method", "", "model", "source")
        shown.add_column(title, justify="left" if text else "right", overflow="fold")
    for entry in table.entries:
        style = "bold" if entry.measured else ""
        shown.add_row(*(Text(cell(entry), style) for _, cell in columns))
    console.print(f"{table.title}, in percent", highlight=False)
    console.print(shown)
    for line in _below(table):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def markdown(table: Table) -> str:
    """A leaderboard as a Markdown table, with what is to be said of it below."""
    columns = _columns(table)
    rows = [[title for title, _ in columns]]
    rows += [[cell(entry).replace("|", "\\|") for _, cell in columns] for entry in table.entries]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|---" * len(columns) + "|")
    below = [f"- {line}" for line in _below(table)]
    return "\n".join([f"**{table.title}**, in percent", "", *lines, "", *below]) + "\n"


def comma_separated(tables: Sequence[Table]) -> str:
    """All rows as CSV, numbers unrounded, with a column for every thing that is known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ["method", "dataset", "miou", "acc", "source"]
    names += ["model", "images", "scored", "segments", "seconds"]
    writer.writerow(["kind", *names, "match", "size", "crop"])
    for entry in (entry for table in tables for entry in table.entries):
        conditions = entry.conditions
        values: list[Any] = [_kind(entry), *(getattr(entry, name) for name in names)]
        values += [conditions.match, conditions.size, conditions.crop]
        writer.writerow(["" if value is None else value for value in values])
    return text.getvalue()


def plot_leaderboard(tables: Sequence[Table], path: Path) -> None:
    """Draw the mIoU of all rows as bars, a panel a dataset, into a PNG, PDF or SVG.

    Raises:
        AttnProbeError: another suffix, the file can't be written, or Matplotlib is missing.
    """
    with extra("plots", "a leaderboard's plot"):
        from matplotlib.figure import Figure

    if path.suffix.lower() not in PLOTS:
        raise AttnProbeError(f"{path}: must end in {' or '.join(PLOTS)}, which says its kind")
    counts = [len(table.entries) for table in tables]
    letters = sum(len(table.conditions) for table in tables)
    height = 0.24 * sum(counts) + 0.13 * letters + 0.8 * len(tables)
    figure = Figure(figsize=(6.75, height), layout="constrained")
    panels = figure.subplots(len(tables), squeeze=False, height_ratios=counts)[:, 0]
    for table, axes in zip(tables, panels, strict=True):
        _bars(table, axes)
    with write_whole(path) as temporary:
        figure.savefig(temporary, dpi=200)


def _bars(table: Table, axes: Axes) -> None:
    several = len(table.conditions) > 1
    entries = table.entries[::-1]
    values = [entry.miou for entry in entries]
    colours = [_COLOURS[entry.measured] for entry in entries]
    bars = axes.barh(range(len(entries)), values, color=colours, height=0.72)
    labels = [f"{e.miou:.1f}{f'  {table.mark(e)}' if several else ''}" for e in entries]
    axes.bar_label(bars, labels, padding=3, fontsize=8)
    axes.set_yticks(range(len(entries)), [entry.method for entry in entries], fontsize=8)
    axes.set_xlim(0, max(100.0 if max(values) > 80 else 1.15 * max(values), 1.0))
    axes.set_title(table.title, fontsize=9, loc="left")
    axes.set_ylim(-0.6, len(entries) - 0.4)
    said = _letters(table) if several else []
    axes.set_xlabel("\n".join(["mIoU, percent", *said]), fontsize=8, loc="left")
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    kinds = {_kind(entry): _COLOURS[entry.measured] for entry in table.entries}
    if len(kinds) > 1:
        handles = [axes.barh(0, 0, color=colour, label=kind) for kind, colour in kinds.items()]
        axes.legend(handles=handles, fontsize=8, frameon=False, loc="lower right")


def _columns(table: Table) -> list[Column]:
    """Titles and cells of what is known of any row."""
    several = len(table.conditions) > 1
    columns: list[Column] = [
        ("method", lambda e: e.method),
        ("", _kind),
        ("mIoU", lambda e: f"{e.miou:.1f}"),
        ("ACC", lambda e: _number(e.acc)),
        ("protocol", lambda e: table.mark(e) if several else ""),
        ("images", lambda e: "" if e.images is None else f"{e.scored} of {e.images}"),
        ("segments", lambda e: _number(e.segments)),
        ("seconds", lambda e: "" if e.seconds is None else f"{e.seconds:.2f}"),
        ("model", lambda e: e.model),
        ("source", lambda e: e.source),
    ]
    return [column for column in columns if any(map(column[1], table.entries))]


def _below(table: Table) -> list[str]:
    """The letters' meaning, and the warnings."""
    said = _letters(table)
    if len(said) == 1:
        said = [f"protocol: {table.entries[0].conditions.describe()}"]
    return [*said, *(f"warning: {sentence}" for sentence in table.warnings)]


def _letters(table: Table) -> list[str]:
    """What each letter stands for."""
    return list(dict.fromkeys(f"{table.mark(e)}: {e.conditions.describe()}" for e in table.entries))


def _kind(entry: LeaderboardEntry) -> str:
    return "measured" if entry.measured else "published"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
