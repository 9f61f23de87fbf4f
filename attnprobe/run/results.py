"""What a run has found so far, on disk after every image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from attnprobe.evaluate import Scores
from attnprobe.files import write_whole
from attnprobe.run.folder import FAILURES, SCORES, SUMMARY, TIMINGS, RunFolder
from attnprobe.run.outcome import Outcome

COLUMNS = pa.schema(
    [
        ("image", pa.string()),
        ("segments", pa.int32()),
        ("acc", pa.float64()),
        ("miou", pa.float64()),
    ]
)
"""scores.parquet: a row an image; `acc` and `miou` are null without truth."""


class Results:
    """The outcomes of a run.

    An image is done when it has its row in scores.parquet, which is written after its labels and
    overlay. Times lie in a file of their own, so that equal runs give equal files.

    Args:
        folder: the run's folder.
        recipe: the recipe's name.
        images: how many the run has.
    """

    def __init__(self, folder: RunFolder, recipe: str, images: int) -> None:
        self.folder = folder
        self.recipe = recipe
        self.images = images
        self.outcomes: list[Outcome] = []

    @property
    def done(self) -> list[Outcome]:
        """The images that were segmented."""
        return [outcome for outcome in self.outcomes if outcome.error is None]

    @property
    def failed(self) -> list[Outcome]:
        """The images that were not."""
        return [outcome for outcome in self.outcomes if outcome.error is not None]

    def add(self, outcome: Outcome) -> None:
        """Take one more outcome and bring the files up to date.

        Raises:
            AttnProbeError: the folder can't be written.
        """
        self.outcomes.append(outcome)
        self.write()

    def write(self) -> None:
        """Write the files as they stand."""
        with write_whole(self.folder.path / SCORES) as temporary:
            parquet.write_table(self.table(), temporary)
        failures = [{"image": o.image, "where": o.where, "error": o.error} for o in self.failed]
        self.folder.write_json_lines(FAILURES, failures)
        self.folder.write_json(TIMINGS, {o.image: round(o.seconds, 3) for o in self.outcomes})
        self.folder.write_json(SUMMARY, self.summary())

    def table(self) -> pa.Table:
        """The rows of scores.parquet."""
        rows = [{"image": o.image, "segments": o.segments, **_scores(o.scores)} for o in self.done]
        return pa.Table.from_pylist(rows, COLUMNS)

    def summary(self) -> dict[str, Any]:
        """Counts, means over the images, and scores pooled over those with truth."""
        done = self.done
        scores = [outcome.scores for outcome in done if outcome.scores is not None]
        return {
            "recipe": self.recipe,
            "images": self.images,
            "done": len(done),
            "failed": len(self.failed),
            "scored": len(scores),
            "mean": {
                "segments": mean([outcome.segments for outcome in done]),
                "acc": mean([s.acc for s in scores]),
                "miou": mean([s.miou for s in scores]),
            },
            "pooled": _scores(self.pooled()),
        }

    def pooled(self) -> Scores | None:
        """The scores of all images with truth as of one: each image's objects are its own classes.

        Accuracy is then over all pixels, mIoU over all objects.
        """
        scores = [outcome.scores for outcome in self.done if outcome.scores is not None]
        if not scores:
            return None
        counts = [np.concatenate([getattr(s, part) for s in scores]) for part in ("tp", "fp", "fn")]
        return Scores.from_counts(np.stack(counts), sum(s.valid for s in scores))


def _scores(scores: Scores | None) -> dict[str, float | None]:
    return {
        "acc": number(scores.acc if scores else None),
        "miou": number(scores.miou if scores else None),
    }


def number(value: float | None) -> float | None:
    """The number, or None where there is none (NaN)."""
    return None if value is None or math.isnan(value) else float(value)


def mean(values: list[Any]) -> float | None:
    """The mean of the values that are numbers, or None."""
    numbers = [value for value in map(number, values) if value is not None]
    return sum(numbers) / len(numbers) if numbers else None
