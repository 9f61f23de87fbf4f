"""Runs beside each other: their scores over the images they share, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnprobe.errors import RunError
from attnprobe.run.bootstrap import mean_interval
from attnprobe.run.folder import RunFolder
from attnprobe.run.results import Results
from attnprobe.run.sweep import runs_of

MEASURES = ("acc", "miou", "segments")
"""What is known of an image: two scores from 0 to 1, NaN without truth, and a count."""


@dataclass(frozen=True)
class Difference:
    """A mean less that of the first run, over the images where both have the number.

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
        means: by measure; NaN where no image has it.
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
    """

    runs: tuple[RunFolder, ...]
    images: tuple[str, ...]
    values: dict[str, np.ndarray]
    rows: tuple[Row, ...]

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
    found = [{outcome.image: outcome for outcome in Results.load(run).done} for run in runs]
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
    return Comparison(tuple(runs), tuple(images), values, tuple(rows))


def _difference(first: np.ndarray, other: np.ndarray) -> Difference:
    differences = other - first
    known = differences[~np.isnan(differences)]
    return Difference(_mean(known), *mean_interval(known))


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
