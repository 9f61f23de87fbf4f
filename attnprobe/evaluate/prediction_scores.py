"""What came of scoring predictions: image by image, all together, and what was left out."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attnprobe.errors import AttnProbeError
from attnprobe.evaluate.bootstrap import ends, mean_interval, score_draws
from attnprobe.evaluate.metrics import Scores
from attnprobe.evaluate.people import NAMES, People
from attnprobe.evaluate.regions import Regions
from attnprobe.evaluate.scorer import Scorer
from attnprobe.evaluate.settings import MEASURES as PEOPLE
from attnprobe.evaluate.settings import dataset_score
from attnprobe.files import write_whole

MEASURES = (
    "acc", "miou", "ari", "nmi", "boundary_f", "covering", "segments", "true_segments",
)  # fmt: skip
"""Numbers of an image, and of all of them."""


@dataclass(frozen=True)
class Number:
    """A number over a dataset.

    Args:
        value: the number; NaN where no image has it.
        low: lower end of its 95 % bootstrap interval over the images; NaN where it has none.
        high: upper end.
    """

    value: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class ImageScores:
    """What came of one image.

    Args:
        image: the sample's name.
        scores: of it alone; None where one matching holds for all images.
        regions: how its segments lie over the true regions.
        people: against people's truths, where the protocol scores them.
    """

    image: str
    scores: Scores | None
    regions: Regions
    people: People | None = None

    def row(self) -> dict[str, Any]:
        """Its numbers as plain data, None for those that it hasn't."""
        matched = {name: getattr(self.scores, name, math.nan) for name in ("acc", "miou")}
        people = asdict(self.people) if self.people else {}
        return {"image": self.image, **_plain({**matched, **asdict(self.regions), **people})}


@dataclass(frozen=True)
class PredictionScores:
    """Predictions under a protocol.

    Args:
        scorer: the protocol, and over which classes.
        images: those that were scored, in the dataset's order.
        left_out: those that were not, and why, in a sentence each.
        scores: of all images together; see `Scorer.pooled`.
    """

    scorer: Scorer
    images: list[ImageScores]
    left_out: dict[str, str]
    scores: Scores

    @property
    def count(self) -> int:
        """How many images the dataset has."""
        return len(self.images) + len(self.left_out)

    def numbers(self) -> dict[str, Number]:
        """The numbers by the names of `MEASURES`.

        ACC and mIoU are those of all images together where the dataset has classes; all else are
        means over the images. One matching for all images has no interval.
        """
        rows = [image.row() for image in self.images]
        numbers = {name: _mean([row[name] for row in rows]) for name in MEASURES}
        if self.scorer.names is not None:
            single = [image.scores for image in self.images if image.scores is not None]
            acc, miou = np.empty((2, 0))
            if single:
                counts = np.stack([scores.counts for scores in single])
                acc, miou = score_draws(counts, np.array([scores.valid for scores in single]))
            numbers["acc"] = Number(self.scores.acc, *ends(acc))
            numbers["miou"] = Number(self.scores.miou, *ends(miou))
        return numbers

    def people(self) -> dict[str, float]:
        """The dataset's scores as Berkeley's benchmark has them; none under other protocols."""
        found = [image.people for image in self.images if image.people is not None]
        return {name: dataset_score(name, found) for name in PEOPLE} if found else {}

    def summary(self) -> dict[str, Any]:
        """All but the single images, as plain data."""
        numbers = {name: _plain(asdict(number)) for name, number in self.numbers().items()}
        names = self.scorer.names
        return {
            "images": self.count,
            "scored": len(self.images),
            "protocol": self.scorer.protocol.to_dict(),
            "classes": names and list(names),
            "scores": numbers,
            "iou": names and _plain(self.scorer.by_name(self.scores.iou.tolist())),
            **({"people": _plain(people)} if (people := self.people()) else {}),
            "left_out": self.left_out,
        }

    def save(self, path: Path) -> None:
        """Write the summary as .json, or a row an image as .csv.

        Raises:
            AttnProbeError: another suffix, or the file can't be written.
        """
        check_output(path)
        with write_whole(path) as temporary:
            if path.suffix == ".json":
                text = json.dumps(self.summary(), indent=2, ensure_ascii=False)
                temporary.write_text(f"{text}\n", encoding="utf-8")
                return
            rows = [image.row() for image in self.images]
            rows += [{"image": name, "left_out": why} for name, why in self.left_out.items()]
            with open(temporary, "w", encoding="utf-8", newline="") as file:
                people = NAMES if self.people() else ()
                writer = csv.DictWriter(file, ["image", *MEASURES, *people, "left_out"])
                writer.writeheader()
                writer.writerows(rows)


def check_output(path: Path) -> None:
    """Refuse a file that `PredictionScores.save` can't write.

    Raises:
        AttnProbeError: its suffix is neither .json nor .csv.
    """
    if path.suffix not in (".json", ".csv"):
        raise AttnProbeError(f"{path}: scores are written as .json or .csv")


def _mean(values: list[float | None]) -> Number:
    known = np.array([value for value in values if value is not None], float)
    if not known.size:
        return Number(math.nan)
    return Number(math.fsum(known) / known.size, *mean_interval(known))


def _plain(numbers: dict[str, float]) -> dict[str, float | None]:
    """With None for NaN, which JSON hasn't."""
    return {name: None if math.isnan(value) else value for name, value in numbers.items()}
