"""Several settings of a method over the same images: the best for all, and the best for each.

ODS, the optimal dataset scale, is the score at the one setting that is best for the dataset; OIS,
the optimal image scale, that of a choice for each image anew, which only the truth could make.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from attnprobe.errors import AttnProbeError
from attnprobe.evaluate.people import People

MEASURES = ("covering", "pri", "vi", "boundary_f")
"""What the benchmark scores; of `vi` the least is best."""


@dataclass(frozen=True)
class Best:
    """A measure over a dataset.

    Args:
        ods: at the setting that is best for the dataset.
        ois: with the best setting of each image.
        setting: which one is best for the dataset, the first of equals.
    """

    ods: float
    ois: float
    setting: str


def best_settings(settings: Mapping[str, Sequence[People]]) -> dict[str, Best]:
    """Each measure of `MEASURES` at ODS and OIS, as Berkeley's benchmark puts images together.

    Covering and boundaries are added up over the images, so that an image counts by its people;
    PRI and VI are means over the images. Other than in the benchmark's program F is had at the
    settings given alone, and not at points between them.

    Args:
        settings: by their names, the same images of each in the same order.

    Raises:
        AttnProbeError: there is no setting or no image, or settings have different images.
    """
    counts = {name: len(images) for name, images in settings.items()}
    if not settings or len(set(counts.values())) > 1 or not all(counts.values()):
        raise AttnProbeError(
            f"settings must have the same images, and at least one. Got {counts or 'none'} instead."
        )
    return {measure: _best(measure, settings) for measure in MEASURES}


def dataset_score(measure: str, images: Sequence[People]) -> float:
    """A measure over images, as the benchmark puts them together."""
    if measure in ("pri", "vi"):
        known = [value for image in images if not math.isnan(value := getattr(image, measure))]
        return math.fsum(known) / len(known) if known else math.nan
    together: float = getattr(_added(images), measure)
    return together


def _best(measure: str, settings: Mapping[str, Sequence[People]]) -> Best:
    sign = -1 if measure == "vi" else 1

    def worth(value: float) -> float:
        return -math.inf if math.isnan(value) else sign * value

    scores = {name: dataset_score(measure, images) for name, images in settings.items()}
    setting = max(scores, key=lambda name: worth(scores[name]))
    columns = zip(*settings.values(), strict=True)
    chosen = [max(column, key=lambda image: worth(getattr(image, measure))) for column in columns]
    return Best(scores[setting], dataset_score(measure, chosen), setting)


def _added(images: Sequence[People]) -> People:
    """The images as one, but for the means."""

    def total(name: str) -> int:
        return sum(getattr(image, name) for image in images)

    return People(
        covered=math.fsum(image.covered for image in images),
        pixels=total("pixels"),
        pri=math.nan,
        vi=math.nan,
        recalled=total("recalled"),
        drawn=total("drawn"),
        right=total("right"),
        found=total("found"),
    )
