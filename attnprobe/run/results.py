"""What a run has found so far: kept line by line while it goes, in files when it stops."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet

from attnprobe.errors import AttnProbeError, RunError
from attnprobe.evaluate import Protocol, Scorer, Scores
from attnprobe.evaluate.people import NAMES, People
from attnprobe.evaluate.settings import MEASURES, dataset_score
from attnprobe.files import printable, write_whole
from attnprobe.run.folder import (
    FAILURES,
    IMAGES,
    PROGRESS,
    SCORES,
    SUMMARY,
    TIMINGS,
    RunFolder,
)
from attnprobe.run.forms import ENTRIES, ROWS, checked
from attnprobe.run.journal import Journal
from attnprobe.run.listing import Listed
from attnprobe.run.outcome import AGREEMENT, Outcome, number
from attnprobe.run.table import read_table

if TYPE_CHECKING:
    from attnprobe.data.base import Sample

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
        images: all images, or their names where no more is known of them.
        scorer: how they are scored, for what is said of all together.

    Attributes:
        listed: by name, which file each image was.
    """

    def __init__(
        self,
        folder: RunFolder,
        recipe: str,
        images: Iterable[Listed | str],
        scorer: Scorer | None = None,
    ) -> None:
        self.folder = folder
        self.recipe = recipe
        self.scorer = scorer or Scorer()
        known = (Listed(each) if isinstance(each, str) else each for each in images)
        self.listed = {each.image: each for each in known}
        self._outcomes: dict[str, Outcome | None] = dict.fromkeys(self.listed)
        self._journal = Journal(folder.path / PROGRESS)

    @classmethod
    def load(cls, folder: RunFolder) -> Results:
        """What a folder holds, of a run that is complete, was stopped, or is going on.

        Raises:
            RunError: a file can't be read.
        """
        times, summary = folder.times(), folder.summary()
        entries = folder.read_json(IMAGES, ENTRIES, [])
        images = [Listed(e) if isinstance(e, str) else Listed.read(e) for e in entries]
        results = cls(folder, summary.get("recipe", ""), images, _scorer(folder))
        rows = [
            *_rows(folder),
            *folder.read_json(FAILURES, ROWS, []),
            *checked(ROWS, results._journal.read(), folder.path / PROGRESS),
        ]
        try:
            found = [Outcome.read(row, seconds=times.get(row["image"], 0.0)) for row in rows]
            _refuse_other_classes(results.scorer, found)
        except KeyError as error:
            raise RunError(f"{folder.path}: one of its rows lacks {error}") from None
        except (ValueError, OverflowError, TypeError) as error:
            raise RunError(f"{folder.path}: its counts don't go together: {error}") from None
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

    def has_done(self, image: str) -> bool:
        """Whether an image was segmented."""
        outcome = self._outcomes.get(image)
        return outcome is not None and outcome.error is None

    def holds(self, sample: Sample) -> bool:
        """Whether a sample is the image of its name, as it was when it was read."""
        return self.listed[sample.name].is_still(sample)

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
        for outcome in outcomes:
            self._take(outcome)

    def add(self, outcome: Outcome) -> None:
        """Take and keep one more outcome.

        Raises:
            AttnProbeError: the folder can't be written.
        """
        # Noted first: where the journal can't be written, the files may be once there is room.
        self._take(outcome)
        self._journal.add(outcome.line())

    def _take(self, outcome: Outcome) -> None:
        self._outcomes[outcome.image] = outcome
        listed = self.listed.get(outcome.image, Listed(outcome.image))
        files = outcome.files or listed.files
        self.listed[outcome.image] = replace(listed, files=files)

    def write_list(self) -> None:
        """Write images.json.

        Raises:
            AttnProbeError: the folder can't be written.
        """
        self.folder.write_json(IMAGES, [each.entry() for each in self.listed.values()])

    def write(self) -> None:
        """Write the files as they stand.

        Raises:
            AttnProbeError: the folder can't be written; the journal then stays.
        """
        # Rows go before the list, so that none is left of an image that was taken off it.
        with write_whole(self.folder.path / SCORES) as temporary:
            parquet.write_table(self.table(), temporary)
        self.folder.write_json_lines(FAILURES, [outcome.failure() for outcome in self.failed])
        self.folder.write_json(TIMINGS, {o.image: round(o.seconds, 3) for o in self.outcomes})
        self.write_list()
        self.folder.write_json(SUMMARY, self.summary())
        self._journal.remove()

    def _repr_html_(self) -> str:
        from attnprobe.notebook.tables import results_html

        return results_html(self)

    def table(self) -> pa.Table:
        """The rows of scores.parquet."""
        people = self.scorer.protocol.people
        columns = pa.schema([*COLUMNS, *PEOPLE]) if people else COLUMNS
        return pa.Table.from_pylist([outcome.row() for outcome in self.done], columns)

    def summary(self) -> dict[str, Any]:
        """Counts, means over the images, and scores pooled over those with truth."""
        done = self.done
        rows = [outcome.row() for outcome in done]
        pooled = self.pooled()
        by_name = {}
        if self.scorer.names is not None:
            iou = pooled.iou.tolist() if pooled else [None] * len(self.scorer.names)
            by_name = {"iou": self.scorer.by_name(map(number, iou))}
        return {
            "recipe": self.recipe,
            "images": len(self.images),
            "done": len(done),
            "failed": len(self.failed),
            "scored": sum(outcome.scores is not None for outcome in done),
            "protocol": self.scorer.protocol.to_dict(),
            "classes": self.scorer.names and list(self.scorer.names),
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
        if not self.scorer.protocol.people:
            return {}
        found = self.people()
        return {"people": {name: number(dataset_score(name, found)) for name in MEASURES}}

    def pooled(self) -> Scores | None:
        """The scores of all images with truth as of one; see `Scorer.pooled`."""
        return self.scorer.pooled([o.scores for o in self.done if o.scores is not None])


def mean(values: list[Any]) -> float | None:
    """The mean of the values that are numbers, or None."""
    numbers = [value for value in map(number, values) if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _scorer(folder: RunFolder) -> Scorer:
    """How a run's images were scored, by its summary.

    Raises:
        RunError: there is no such protocol.
    """
    summary = folder.summary()
    classes = summary.get("classes")
    try:
        protocol = Protocol(**summary.get("protocol", {"name": "whole"}))
        return Scorer(protocol, None if classes is None else tuple(classes))
    except (AttnProbeError, TypeError) as error:
        raise RunError(f"{folder.path / SUMMARY}: is of another form: {error}") from None


def _refuse_other_classes(scorer: Scorer, outcomes: Iterable[Outcome]) -> None:
    """Raises ValueError if an image was scored over another number of classes."""
    if scorer.names is None:
        return
    for outcome in outcomes:
        if outcome.scores is not None and len(outcome.scores.tp) != len(scorer.names):
            raise ValueError(
                f"{printable(outcome.image)} has those of {len(outcome.scores.tp)} classes, "
                f"the summary {len(scorer.names)}"
            )


def _rows(folder: RunFolder) -> list[Any]:
    path = folder.path / SCORES
    try:
        return checked(ROWS, read_table(path, COLUMNS.names), path)
    except FileNotFoundError:
        return []
