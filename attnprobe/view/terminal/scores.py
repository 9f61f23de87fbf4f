"""Predictions that were scored, as a terminal shows them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.table import Table

from attnprobe.evaluate.prediction_scores import Number, PredictionScores
from attnprobe.view.terminal.people import TITLES as PEOPLE
from attnprobe.view.terminal.runs import fixed, literal, plain_table, progress, say

if TYPE_CHECKING:
    from attnprobe.data.base import Sample

T = TypeVar("T", bound="Sample")

TITLES = {
    "acc": "ACC",
    "miou": "mIoU",
    "ari": "ARI",
    "nmi": "NMI",
    "boundary_f": "boundary F",
    "covering": "covering",
    "segments": "segments",
    "true_segments": "true segments",
}
LISTED = 5
"""Images left out that are named; of more, the first so many."""


def watched(samples: Sequence[T]) -> Iterator[T]:
    """The samples, with a bar on standard error while they are gone through."""
    errors = Console(file=sys.stderr)
    with progress(errors, visible=True) as bar:
        yield from bar.track(samples, description="scoring")


def show_scores(result: PredictionScores, console: Console) -> None:
    """Print the protocol, over how many images, the scores, and what was left out."""
    scored, names = len(result.images), result.scorer.names
    say(console, literal(result.scorer.protocol))
    say(console, f"over {scored} of {result.count} images\n")
    console.print(_scores(result))
    if names is None:
        say(console, "means over images; each image's true labels are its own classes")
    else:
        say(console, f"ACC and mIoU over the dataset's {len(names)} classes; the rest are means")
        console.print()
        console.print(_classes(result))
    if people := result.people():
        said = ", ".join(f"{PEOPLE[name]} {fixed(value, 3)}" for name, value in people.items())
        say(console, f"against people, all together: {said}")
    if result.left_out:
        say(console, f"\n[red]left out[/]: {len(result.left_out)} of {result.count} images")
    for name, why in list(result.left_out.items())[:LISTED]:
        say(console, literal(f"  {name}: {why}"))
    if len(result.left_out) > LISTED:
        say(console, f"  … and {len(result.left_out) - LISTED} more")


def _scores(result: PredictionScores) -> Table:
    table = plain_table("score")
    table.add_column("value", justify="right")
    table.add_column("95 % interval")
    for name, number in result.numbers().items():
        digits = 1 if name.endswith("segments") else 3
        table.add_row(TITLES[name], fixed(number.value, digits), _ends(number, digits))
    return table


def _classes(result: PredictionScores) -> Table:
    table = plain_table("class")
    table.add_column("IoU", justify="right")
    for name, iou in result.scorer.by_name(result.scores.iou).items():
        table.add_row(literal(name), fixed(iou, 3))
    return table


def _ends(number: Number, digits: int) -> str:
    if math.isnan(number.low):
        return "–"
    return f"{number.low:.{digits}f} to {number.high:.{digits}f}"
