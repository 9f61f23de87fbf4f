"""A published setting that was run anew, beside what was published."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from attnprobe.run.reproduce import TOLERANCE, Reproduction


def show_reproduction(reproduction: Reproduction, console: Console) -> None:
    """Print measured against published, and what that means."""
    table = Table(box=SIMPLE, show_edge=False, padding=(0, 1, 0, 0))
    for title in ("percent", "measured", "published", "difference"):
        table.add_column(title, justify="left" if title == "percent" else "right")
    one, figure = reproduction.measured, reproduction.figure
    for name, value, other in (
        ("mIoU", one.miou, figure.miou if figure else None),
        ("ACC", one.acc, figure.acc if figure else None),
    ):
        cells = [_number(value), _number(other), "–"]
        if value is not None and other is not None:
            cells[2] = f"{value - other:+.1f}"
        table.add_row(name, *cells)
    console.print(table)
    for line in _verdict(reproduction):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _verdict(reproduction: Reproduction) -> Sequence[str]:
    if reproduction.apart:
        return [f"not comparable: {sentence}" for sentence in reproduction.apart]
    if reproduction.figure is None:
        run = reproduction.measured.source
        return [f"no figure of this setting is known; beside others: attnprobe leaderboard {run}"]
    source = f"published: {reproduction.figure.source}"
    if reproduction.succeeded:
        return [source, f"reproduced: within ±{TOLERANCE:.1f} of the published figures"]
    return [
        source,
        f"not reproduced: more than {TOLERANCE:.1f} off; docs/reproduce.md says what to look at",
    ]
