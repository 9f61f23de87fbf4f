"""What a run has found so far: kept line by line while it goes, in files when it stops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from attnprobe.errors import RunError
from attnprobe.evaluate import Protocol, Scores, Scoring
from attnprobe.evaluate.people import NAMES, People
from attnprobe.evaluate.settings import MEASURES, dataset_score
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
from attnprobe.run.outcome import AGREEMENT, Outcome, number

COLUMNS = pa.schema(
    [
        ("image", pa.string()),
        ("segments", pa.int32()),
        ("true_segments", pa.float64()),  # the mean, where several people say how many
        ("acc", pa.float64()),
        ("miou", pa.float64()),
        *((name, pa.float64()) for name in AGREEMENT),
        ("tp", pa.list_(pa.int64())),
        ("fp", pa.list_(pa.int64())),
        ("fn", pa.list_(pa.int64())),
        ("valid", pa.int64()),
        ("cut", pa.string()),
    ]
)
"""scores.parquet: a row an image, those from `true_segments` to `valid` null without truth."""

PEOPLE = pa.schema(
    [(name, pa.float64() if name in ("covered", "pri", "vi") else pa.int64()) for name in NAMES]
)
"""More columns of scores.parquet under a protocol that scores against people."""

MEANS = ("segments", "true_segments", "acc", "miou", *AGREEMENT)
"""Numbers of an image whose means are in the summary."""


class Results:
    """The outcomes of a run, in the order of its images.

    An outcome is kept as soon as it is added, by a line of the journal. The files are written from
    all outcomes when the run stops, and then the journal is removed. Times lie in a file of their
    own, so that equal runs give equal files.

    Args:
        folder: the run's folder.
        recipe: the recipe's name.
        images: the names of all images.
        scoring: how they are scored, for what is said of all together.
    """

    def __init__(
        self,
        folder: RunFolder,
        recipe: str,
        images: Iterable[str],
        scoring: Scoring | None = None,
    ) -> None:
        self.folder = folder
        self.recipe = recipe
        self.scoring = scoring or Scoring()
        self._outcomes: dict[str, Outcome | None] = dict.fromkeys(images)
        self._journal = Journal(folder.path / PROGRESS)

    @classmethod
    def load(cls, folder: RunFolder) -> Results:
        """What a folder holds, of a run that is complete, was stopped, or is going on.

        Raises:
            RunError: a file can't be read.
        """
        times = folder.read_json(TIMINGS, {})
        summary = folder.read_json(SUMMARY, {})
        images = folder.read_json(IMAGES, [])
        results = cls(folder, summary.get("recipe", ""), images, _scoring(summary))
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

    def _repr_html_(self) -> str:
        from attnprobe.view.html_tables import results_html

        return results_html(self)

    def table(self) -> pa.Table:
        """The rows of scores.parquet."""
        people = self.scoring.protocol.people
        columns = pa.schema([*COLUMNS, *PEOPLE]) if people else COLUMNS
        return pa.Table.from_pylist([outcome.row() for outcome in self.done], columns)

    def summary(self) -> dict[str, Any]:
        """Counts, means over the images, and scores pooled over those with truth."""
        done = self.done
        rows = [outcome.row() for outcome in done]
        pooled = self.pooled()
        by_name = {}
        if self.scoring.names is not None:
            iou = pooled.iou.tolist() if pooled else [None] * len(self.scoring.names)
            by_name = {"iou": self.scoring.by_name(map(number, iou))}
        return {
            "recipe": self.recipe,
            "images": len(self.images),
            "done": len(done),
            "failed": len(self.failed),
            "scored": sum(outcome.scores is not None for outcome in done),
            "protocol": self.scoring.protocol.said(),
            "classes": self.scoring.names and list(self.scoring.names),
            "mean": {name: mean([row[name] for row in rows]) for name in MEANS},
            "pooled": {
                "acc": number(pooled.acc if pooled else None),
                "miou": number(pooled.miou if pooled else None),
                **by_name,
            },
            **self._against_people(),
        }

    def people(self) -> list[People]:
        """The images' scores against people, of those that have them."""
        return [outcome.people for outcome in self.done if outcome.people is not None]

    def _against_people(self) -> dict[str, Any]:
        """The dataset's scores as Berkeley's benchmark has them, if the protocol asks for it."""
        if not self.scoring.protocol.people:
            return {}
        found = self.people()
        return {"people": {name: number(dataset_score(name, found)) for name in MEASURES}}

    def pooled(self) -> Scores | None:
        """The scores of all images with truth as of one; see `Scoring.pooled`."""
        return self.scoring.pooled([o.scores for o in self.done if o.scores is not None])


def mean(values: list[Any]) -> float | None:
    """The mean of the values that are numbers, or None."""
    numbers = [value for value in map(number, values) if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _scoring(summary: dict[str, Any]) -> Scoring:
    """How a run's images were scored, by its summary."""
    classes = summary.get("classes")
    protocol = Protocol(**summary.get("protocol", {"name": "whole"}))
    return Scoring(protocol, None if classes is None else tuple(classes))


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
