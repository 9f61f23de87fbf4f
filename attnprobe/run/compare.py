"""Runs beside each other: their scores over the images they share, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from attnprobe.errors import RunError
from attnprobe.evaluate import Scores
from attnprobe.evaluate.bootstrap import ends, mean_interval, score_draws
from attnprobe.run.folder import RunFolder
from attnprobe.run.outcome import Outcome
from attnprobe.run.results import Results
from attnprobe.run.sweep import runs_of

MEASURES = ("acc", "miou", "segments")
"""What is known of an image: two scores from 0 to 1, NaN without truth, and a count."""


@dataclass(frozen=True)
class Difference:
    """A number less that of the first run, over the images where both have it.

    Args:
        value: the difference; NaN if there are no such images.
        low: lower end of its 95 % interval, by the paired bootstrap.
        high: upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One run of a comparison.

    Args:
        name: its folder, as given.
        done: images it has done, shared or not.
        means: by measure; NaN where no image has it. ACC and mIoU are those of all images
            together where the runs have a dataset's classes in common.
        differences: from the first run, by measure; empty for the first itself.
    """

    name: str
    done: int
    means: dict[str, float]
    differences: dict[str, Difference]


@dataclass(frozen=True)
class Comparison:
    """Runs over the images that all of them have done.

    Args:
        runs: their folders.
        images: the names of these images.
        values: (runs, images) numbers by measure.
        rows: a row a run, in the order given.
        notes: a sentence for each run that was scored otherwise than the first.
    """

    runs: tuple[RunFolder, ...]
    images: tuple[str, ...]
    values: dict[str, np.ndarray]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def decisive(self) -> str:
        """The measure by which images are told apart: mIoU where there is truth."""
        return "segments" if np.isnan(self.values["miou"]).all() else "miou"

    def differing(self, most: int = 10) -> list[tuple[str, np.ndarray]]:
        """The images in which the runs differ most, and their numbers (runs,); none if equal."""
        values = self.values[self.decisive]
        if len(self.runs) < 2:
            return []
        spread = np.nan_to_num(values.max(0) - values.min(0), nan=0.0)
        order = np.argsort(-spread, kind="stable")[:most]
        return [(self.images[i], values[:, i]) for i in order if spread[i] > 0]


def compare(paths: Sequence[Path]) -> Comparison:
    """Compare runs by their folders; a sweep's stands for the runs of all its points.

    Raises:
        RunError: a folder is no run or can't be read, or the runs have done no image in common.
    """
    runs = [run for path in paths for run in runs_of(RunFolder(path))]
    results = [Results.load(run) for run in runs]
    found = [{outcome.image: outcome for outcome in result.done} for result in results]
    images = [name for name in found[0] if all(name in outcomes for outcomes in found)]
    if not images:
        empty = [str(run.path) for run, outcomes in zip(runs, found, strict=True) if not outcomes]
        of = f": nothing is done in {', '.join(empty)}" if empty else ""
        raise RunError(f"the runs have no image in common that all have done{of}")
    shared = [[outcomes[name].row() for name in images] for outcomes in found]
    values = {
        measure: np.array([[row[measure] for row in rows] for rows in shared], float)
        for measure in MEASURES
    }
    rows = [
        Row(
            str(run.path),
            len(found[i]),
            {name: _mean(values[name][i]) for name in MEASURES},
            {name: _difference(*values[name][[0, i]]) for name in MEASURES} if i else {},
        )
        for i, run in enumerate(runs)
    ]
    names = {result.scorer.names for result in results}
    if len(names) == 1 and None not in names:
        rows = _pooled(rows, [[outcomes[name] for name in images] for outcomes in found])
    notes = [
        f"{run.path} was scored otherwise: {result.scorer}, not {results[0].scorer}"
        for run, result in zip(runs, results, strict=True)
        if result.scorer != results[0].scorer
    ]
    return Comparison(tuple(runs), tuple(images), values, tuple(rows), tuple(notes))


def _pooled(rows: list[Row], outcomes: list[list[Outcome]]) -> list[Row]:
    """The rows with ACC and mIoU of all images together that have a truth in every run."""
    scored = [
        [outcome.scores for outcome in images if outcome.scores is not None]
        for images in zip(*outcomes, strict=True)
    ]
    scored = [scores for scores in scored if len(scores) == len(rows)]
    if not scored:
        return rows
    changed: list[Row] = []
    first: dict[str, tuple[float, np.ndarray]] = {}
    for row, scores in zip(rows, zip(*scored, strict=True), strict=True):
        counts, valid = np.stack([s.counts for s in scores]), np.array([s.valid for s in scores])
        whole = Scores.from_counts(counts.sum(0), int(valid.sum()))
        draws = dict(zip(("acc", "miou"), score_draws(counts, valid), strict=True))
        values = {"acc": whole.acc, "miou": whole.miou}
        first = first or {name: (values[name], draws[name]) for name in values}
        differences = {
            name: Difference(values[name] - value, *ends(draws[name] - drawn))
            for name, (value, drawn) in first.items()
        }
        changed.append(
            replace(
                row,
                means=row.means | values,
                differences=row.differences and row.differences | differences,
            )
        )
    return changed


def _difference(first: np.ndarray, other: np.ndarray) -> Difference:
    differences = other - first
    known = differences[~np.isnan(differences)]
    return Difference(_mean(known), *mean_interval(known))


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
