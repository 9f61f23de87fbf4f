"""How a run looks in a terminal: the bar while it goes, the table when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from attnprobe.files import printable
from attnprobe.run.folder import FAILURES, LABELS, OVERLAYS, REPORT, SCORES, SWEEP
from attnprobe.run.outcome import Outcome, number
from attnprobe.run.people import against_people
from attnprobe.run.results import Results, mean
from attnprobe.view.terminal.people import TITLES, show_people

if TYPE_CHECKING:
    from attnprobe.run.sweep import Sweep

SHOWN = 20
"""Images, points, failures and cuts that are listed; of more, the first so many."""


class Rate(ProgressColumn):
    """Images a second, or seconds an image where that is the larger number."""

    def render(self, task: Task) -> Text:
        """The text of the column."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f} images/s" if speed >= 1 else f"{1 / speed:.1f} s/image")


def progress(console: Console, visible: bool) -> Progress:
    """A bar with count, rate and the time that remains; only where a terminal shows it."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(compact=True),
        console=console,
        expand=True,
        transient=True,
        disable=not (visible and console.is_terminal),
    )


def show_results(results: Results, console: Console) -> None:
    """Print the table, what was cut off, the failures, and where everything lies."""
    folder, done = results.folder, results.done
    if done:
        console.print(_table(results))
        if len(done) > SHOWN:
            say(console, f"the first {SHOWN} of {len(done)} images; all are in {SCORES}")
        if pooled := _pooled(results):
            say(console, pooled)
        if people := results.summary().get("people"):
            said = ", ".join(f"{TITLES[name]} {fixed(people[name], 3)}" for name in people)
            say(console, escape(f"against people, all together: {said}"))
        console.print()
    _list(console, _cuts(done))
    _list(console, [f"[red]failed[/]  {literal(_failure(o))}" for o in results.failed], FAILURES)
    say(console, f"run folder  {literal(folder.path)}")
    if done:
        say(console, f"labels      {literal(folder.path / LABELS)}")
        say(console, f"overlays    {literal(folder.path / OVERLAYS)}")
    if (report := folder.path / REPORT).exists():
        say(console, f"report      {literal(report)}")


def show_sweep(sweep: Sweep, console: Console) -> None:
    """Print a row a point, those with scores by their mIoU, and where everything lies.

    Against people it is covering that points are told apart by, and what they come to together.
    """
    rows = sweep.table().to_pylist()
    people = against_people(sweep.folder)
    measures = ["covering"] if people else ["acc", "miou"]
    decisive = measures[-1]
    scored = any(row[decisive] is not None for row in rows)
    if scored:
        rows.sort(key=lambda row: -1 if row[decisive] is None else row[decisive], reverse=True)
    table = plain_table("point")
    columns = [("done", 0), ("failed", 0), ("segments", 1)]
    columns += [(name, 3) for name in measures] if scored else []
    for name, _ in columns:
        title = {"acc": "ACC", "miou": "mIoU"}.get(name, name)
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows[:SHOWN]:
        table.add_row(literal(row["label"]), *(fixed(row[name], d) for name, d in columns))
    console.print(table)
    if len(rows) > SHOWN:
        order = "best" if scored else "first"
        say(console, f"the {order} {SHOWN} of {len(rows)} points; all are in {SWEEP}")
    console.print()
    if people is not None:
        show_people([people], console)
        console.print()
    say(console, f"sweep's folder  {literal(sweep.folder.path)}")


def plain_table(first: str, **options: Any) -> Table:
    """An empty table without lines between rows, its first column the one that is folded."""
    table = Table(box=SIMPLE, show_edge=False, padding=(0, 1, 0, 0), **options)
    table.add_column(first, "mean", overflow="fold", min_width=5)
    return table


def _table(results: Results) -> Table:
    done = results.done
    means = results.summary()["mean"]
    seconds = mean([outcome.seconds for outcome in done])
    columns = [("segments", means["segments"], 1), ("seconds", seconds, 2)]
    people = results.scorer.protocol.people
    if people:
        columns += [("covering", means["covering"], 3)]
    elif any(outcome.scores for outcome in done):
        columns += [("ACC", means["acc"], 3), ("mIoU", means["miou"], 3)]
    table = plain_table("image", show_footer=len(done) > 1)
    for name, value, digits in columns:
        table.add_column(name, fixed(value, digits), justify="right", no_wrap=True)
    for o in done[:SHOWN]:
        acc, miou = (o.scores.acc, o.scores.miou) if o.scores else (None, None)
        covering = o.regions.covering if o.regions else None
        cells = [str(o.segments), fixed(o.seconds, 2)]
        cells += [fixed(score, 3) for score in ([covering] if people else [acc, miou])]
        table.add_row(literal(o.image), *cells[: len(columns)])
    return table


def _pooled(results: Results) -> str:
    """The dataset's scores, which are no means over images; empty where it has no classes."""
    pooled, names = results.pooled(), results.scorer.names
    if pooled is None or names is None:
        return ""
    scores = f"ACC {fixed(pooled.acc, 3)}, mIoU {fixed(pooled.miou, 3)}"
    return literal(f"all together ({results.scorer}): {scores}")


def literal(text: object) -> str:
    """A text as markup that shows it as it is, but for what a terminal would obey."""
    return escape(printable(str(text)))


def fixed(value: float | None, digits: int) -> str:
    """A number as a cell of a table, a dash where there is none."""
    value = number(value)
    return "–" if value is None else f"{value:.{digits}f}"


def _failure(outcome: Outcome) -> str:
    error = outcome.error or ""
    return error if error.startswith(outcome.where) else f"{outcome.where}: {error}"


def _cuts(done: list[Outcome]) -> list[str]:
    """What was cut off, images of which the same is said together."""
    images: dict[str, list[str]] = {}
    for outcome in done:
        if outcome.cut:
            images.setdefault(outcome.cut, []).append(outcome.image)
    return [
        literal(f"{names[0] if len(names) == 1 else f'{len(names)} images'}: {cut}")
        for cut, names in images.items()
    ]


def _list(console: Console, lines: list[str], file: str | None = None) -> None:
    for line in lines[:SHOWN]:
        say(console, line)
    if len(lines) > SHOWN:
        say(console, f"… and {len(lines) - SHOWN} more{f', in {file}' if file else ''}")
    if lines:
        console.print()


def say(console: Console, line: str) -> None:
    """Print a line, in markup, that is never broken."""
    # Left to the terminal to wrap, so that a path can be copied whole.
    console.print(line, soft_wrap=True, highlight=False)
