"""What a run has found so far: kept line by line while it goes, in files when it stops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from attnprobe.errors import RunError
from attnprobe.evaluate import Scores
from attnprobe.files import write_whole
from attnprobe.run.folder import (
    FAILURES,
    IMAGES,
    PROGRESS,
    SCORES,
    SUMMARY,
    TIMINGS,
    RunFolder,
)
from attnprobe.run.journal import Journal
from attnprobe.run.outcome import Outcome, number

COLUMNS = pa.schema(
    [
        ("image", pa.string()),
        ("segments", pa.int32()),
        ("acc", pa.float64()),
        ("miou", pa.float64()),
        ("tp", pa.list_(pa.int64())),
        ("fp", pa.list_(pa.int64())),
        ("fn", pa.list_(pa.int64())),
        ("valid", pa.int64()),
        ("cut", pa.string()),
    ]
)
"""scores.parquet: a row an image, those from `acc` to `valid` null without truth."""


class Results:
    """The outcomes of a run, in the order of its images.

    An outcome is kept as soon as it is added, by a line of the journal. The files are written from
    all outcomes when the run stops, and then the journal is removed. Times lie in a file of their
    own, so that equal runs give equal files.

    Args:
        folder: the run's folder.
        recipe: the recipe's name.
        images: the names of all images.
    """

    def __init__(self, folder: RunFolder, recipe: str, images: Iterable[str]) -> None:
        self.folder = folder
        self.recipe = recipe
        self._outcomes: dict[str, Outcome | None] = dict.fromkeys(images)
        self._journal = Journal(folder.path / PROGRESS)

    @classmethod
    def load(cls, folder: RunFolder) -> Results:
        """What a folder holds, of a run that is complete, was stopped, or is going on.

        Raises:
            RunError: a file can't be read.
        """
        times = folder.read_json(TIMINGS, {})
        name = folder.read_json(SUMMARY, {}).get("recipe", "")
        results = cls(folder, name, folder.read_json(IMAGES, []))
        found = [Outcome.read(row, seconds=times.get(row["image"], 0.0)) for row in _rows(folder)]
        for row in folder.read_json(FAILURES, []):
            found.append(
                Outcome.read({"segments": None, **row}, seconds=times.get(row["image"], 0.0))
            )
        found += [Outcome.read(line) for line in results._journal.read()]
        results.take(found)
        return results

    @property
    def images(self) -> list[str]:
        """The names of all images of the run."""
        return list(self._outcomes)

    @property
    def outcomes(self) -> list[Outcome]:
        """All outcomes there are."""
        return [outcome for outcome in self._outcomes.values() if outcome is not None]

    @property
    def done(self) -> list[Outcome]:
        """The images that were segmented."""
        return [outcome for outcome in self.outcomes if outcome.error is None]

    @property
    def failed(self) -> list[Outcome]:
        """The images that were not."""
        return [outcome for outcome in self.outcomes if outcome.error is not None]

    @property
    def complete(self) -> bool:
        """Whether every image is done and the files say so."""
        return not self.left and not self._journal.path.exists()

    @property
    def left(self) -> list[str]:
        """The images still to be done: not begun, failed, or without their pictures."""
        done = {o.image for o in self.done if self.folder.has_pictures(o.image)}
        return [name for name in self.images if name not in done]

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Take outcomes that are kept already."""
        self._outcomes.update((outcome.image, outcome) for outcome in outcomes)

    def add(self, outcome: Outcome) -> None:
        """Take and keep one more outcome.

        Raises:
            AttnProbeError: the folder can't be written.
        """
        # Noted first: where the journal can't be written, the files may be once there is room.
        self._outcomes[outcome.image] = outcome
        self._journal.add(outcome.line())

    def write(self) -> None:
        """Write the files as they stand.

        Raises:
            AttnProbeError: the folder can't be written; the journal then stays.
        """
        with write_whole(self.folder.path / SCORES) as temporary:
            parquet.write_table(self.table(), temporary)
        failures = [{"image": o.image, "where": o.where, "error": o.error} for o in self.failed]
        self.folder.write_json_lines(FAILURES, failures)
        self.folder.write_json(TIMINGS, {o.image: round(o.seconds, 3) for o in self.outcomes})
        self.folder.write_json(SUMMARY, self.summary())
        self._journal.remove()

    def table(self) -> pa.Table:
        """The rows of scores.parquet."""
        return pa.Table.from_pylist([outcome.row() for outcome in self.done], COLUMNS)

    def summary(self) -> dict[str, Any]:
        """Counts, means over the images, and scores pooled over those with truth."""
        done = self.done
        scores = [outcome.scores for outcome in done if outcome.scores is not None]
        pooled = self.pooled()
        return {
            "recipe": self.recipe,
            "images": len(self.images),
            "done": len(done),
            "failed": len(self.failed),
            "scored": len(scores),
            "mean": {
                "segments": mean([outcome.segments for outcome in done]),
                "acc": mean([s.acc for s in scores]),
                "miou": mean([s.miou for s in scores]),
            },
            "pooled": {
                "acc": number(pooled.acc if pooled else None),
                "miou": number(pooled.miou if pooled else None),
            },
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


def mean(values: list[Any]) -> float | None:
    """The mean of the values that are numbers, or None."""
    numbers = [value for value in map(number, values) if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _rows(folder: RunFolder) -> list[dict[str, Any]]:
    path = folder.path / SCORES
    try:
        table = parquet.read_table(path)
    except FileNotFoundError:
        return []
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path}: can't be read: {error}") from None
    missing = [name for name in COLUMNS.names if name not in table.column_names]
    if missing:
        raise RunError(f"{path}: written by another version; it has no {', '.join(missing)}")
    return table.to_pylist()
