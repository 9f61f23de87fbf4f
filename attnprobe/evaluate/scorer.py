"""One image under a protocol, and the images of a dataset together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from attnprobe.data.base import Truth, each_person
from attnprobe.errors import AttnProbeError
from attnprobe.evaluate.matching import checked_labels
from attnprobe.evaluate.metrics import Scores
from attnprobe.evaluate.people import People, people_scores
from attnprobe.evaluate.protocol import PROTOCOLS, Protocol
from attnprobe.evaluate.regions import Regions, mean_regions, ordinal, region_scores


@dataclass(frozen=True)
class Scorer:
    """A protocol over a dataset's classes, or over each image's own objects where there are none.

    Args:
        protocol: how segments are scored.
        names: of the dataset's classes, in order; None where each image's labels are its own.

    Raises:
        AttnProbeError: the protocol's match needs classes that hold for all images.
    """

    protocol: Protocol = PROTOCOLS["whole"]
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.names is None and self.protocol.match in ("per-dataset", "foreground"):
            raise AttnProbeError(
                f"match: {self.protocol.match} needs classes that are the same in all images, and "
                "the images' source has no fixed list of classes"
            )

    def __str__(self) -> str:
        over = "each image's own labels" if self.names is None else f"{len(self.names)} classes"
        return f"{self.protocol}, over {over}"

    def image(self, prediction: ArrayLike, truth: Truth) -> Scores:
        """Scores of one image, cut and resized already, by itself.

        Several people's truths are as those of several images: without classes, each person's
        regions are classes of their own.

        Raises:
            AttnProbeError: shapes differ, an array isn't of whole numbers, a label is out of range.
        """
        if self.names is None:
            single = [image_scores(prediction, each, self.protocol) for each in each_person(truth)]
            together = self.pooled(single)
            assert together is not None
            return together
        metric = self.protocol.metric(len(self.names))
        for each in each_person(truth):
            metric.update(prediction, each)
        return metric.compute()

    def regions(self, prediction: ArrayLike, truth: Truth) -> Regions:
        """How the segments of one image lie over the true regions, the mean over people."""
        return mean_regions([region_scores(prediction, each) for each in each_person(truth)])

    def people(self, prediction: ArrayLike, truth: Truth) -> People | None:
        """One image against people's truths, if the protocol asks for it."""
        return people_scores(prediction, each_person(truth)) if self.protocol.people else None

    def pooled(self, images: Sequence[Scores]) -> Scores | None:
        """The scores of images as of one; None of none.

        Over the dataset's classes, or with the objects of each image as classes of their own:
        accuracy is then over all pixels, mIoU over all objects.
        """
        if not images:
            return None
        counts = [scores.counts for scores in images]
        together = np.concatenate(counts, axis=1) if self.names is None else np.sum(counts, axis=0)
        return Scores.from_counts(together, sum(scores.valid for scores in images))

    def by_name(self, values: Iterable[Any]) -> dict[str, Any]:
        """A value a class by the classes' names; those that stand twice get their numbers."""
        names = self.names or ()
        unique = [f"{n} ({i})" if names.count(n) > 1 else n for i, n in enumerate(names)]
        return dict(zip(unique, values, strict=True))


def image_scores(
    prediction: ArrayLike, truth: ArrayLike, protocol: Protocol = PROTOCOLS["whole"]
) -> Scores:
    """Scores of one image by itself, whose classes are the labels that occur in its truth.

    The arrays are those of `HungarianMetric.update`; the truth's labels may be any numbers, and
    class i of the scores is the i-th smallest of them. Of the protocol only `match` counts.
    """
    prediction, truth = checked_labels(prediction, truth)
    occurring = np.unique(truth[truth >= 0])
    if occurring.size == 0:
        return Scores.from_counts(np.zeros((3, 0), np.int64), 0)
    metric = protocol.metric(occurring.size)
    metric.update(prediction, ordinal(truth, occurring))
    return metric.compute()


def common_classes(sources: Iterable[Any]) -> tuple[str, ...] | None:
    """The names of the classes that all image sources have, or None if none has any.

    Raises:
        AttnProbeError: they differ; their scores would mean nothing together.
    """
    found: dict[tuple[str, ...] | None, str] = {}
    for source in sources:
        classes = getattr(source, "classes", None)
        found.setdefault(classes and tuple(classes.names), type(source).__name__)
    if len(found) > 1:
        said = [f"{len(names) if names else 'no'} in {source}" for names, source in found.items()]
        raise AttnProbeError(
            "images: sources that are scored together must have the same classes. "
            f"Got {' and '.join(said)} instead; make a recipe of each"
        )
    return next(iter(found), None)
