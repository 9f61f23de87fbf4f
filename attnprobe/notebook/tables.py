"""Captures and runs as a notebook shows them: a line that says what it is, and a table."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

_MOST = 100
"""Rows of a table; of more, the first so many and how many there are."""


def records_html(records: Any) -> str:
    """What a capture kept, as a piece of HTML: a row a layer."""
    rows = [
        [row["name"], row["kind"], row["block"], row["heads"], _grid(row["grid"]), row["calls"]]
        for row in records.layers
    ]
    return _titled(repr(records), ["layer", "kind", "block", "heads", "grid", "calls"], rows)


def results_html(results: Any) -> str:
    """What a run found, as a piece of HTML: counts and means, then a row an image, worst first."""
    found = results.summary()
    mean = found["mean"]
    said = f"{found['recipe']}: {found['done']} of {found['images']} images done"
    if found["failed"]:
        said += f", {found['failed']} failed"
    for name, measure in (("ACC", "acc"), ("mIoU", "miou")):
        if mean[measure] is not None:
            said += f", mean {name} {mean[measure]:.3f}"
    rows = [_outcome_row(outcome) for outcome in sorted(results.outcomes, key=_worst_first)]
    return _titled(said, ["image", "segments", "ACC", "mIoU"], rows)


def _outcome_row(outcome: Any) -> list[Any]:
    if outcome.error is not None:
        return [outcome.image, outcome.error]
    scores = outcome.scores
    numbers = [scores.acc, scores.miou] if scores is not None else [None, None]
    return [outcome.image, outcome.segments, *numbers]


def _worst_first(outcome: Any) -> tuple[bool, float]:
    """Failures, then scored images by mIoU, then those without truth; equals keep their order."""
    if outcome.error is not None:
        return False, -1.0
    return outcome.scores is None, outcome.scores.miou if outcome.scores is not None else 0.0


def _titled(title: str, heads: list[str], rows: list[list[Any]]) -> str:
    """A title over a table that scrolls; a row that is short ends in a cell over what is left."""
    more = f", the first {_MOST} of {len(rows)} here" if len(rows) > _MOST else ""
    body = "".join(_row(cells, len(heads)) for cells in rows[:_MOST])
    return (
        f"<div>{escape(title)}{more}"
        '<div style="max-height: 24em; overflow: auto">'
        f"<table><thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead>"
        f"<tbody>{body}</tbody></table></div></div>"
    )


def _row(cells: Iterable[Any], width: int) -> str:
    *first, last = cells
    over = width - len(first)
    span = f' colspan="{over}"' if over > 1 else ""
    inner = "".join(f"<td>{_cell_text(cell)}</td>" for cell in first)
    return f"<tr>{inner}<td{span}>{_cell_text(last)}</td></tr>"


def _cell_text(cell: Any) -> str:
    if cell is None:
        return ""
    return f"{cell:.3f}" if isinstance(cell, float) else escape(str(cell))


def _grid(grid: tuple[int, ...] | None) -> str | None:
    return None if grid is None else "×".join(map(str, grid))
