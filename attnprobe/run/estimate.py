"""How long a run will take and what it will write, from its first image."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnprobe.data.base import Drawing
from attnprobe.run.sweep import pipeline_for

if TYPE_CHECKING:
    from PIL.Image import Image

    from attnprobe.fields import Segmentation
    from attnprobe.recipe import Recipe
    from attnprobe.recipe.sweep import Point

BUDGET = 10.0
"""Seconds after which no more points of a sweep are timed."""


@dataclass(frozen=True)
class Estimate:
    """What one image of a run needs, or of a sweep at all of its points.

    Args:
        look: seconds through the model.
        cut: seconds to group, refine and write.
        pictures: bytes of labels and overlays.
        fields: bytes that the cache keeps.
        timed: how many points were tried; the others count as the mean of these.
    """

    look: float
    cut: float
    pictures: float
    fields: float
    timed: int

    @property
    def seconds(self) -> float:
        """All that an image takes, loading the model apart."""
        return self.look + self.cut


def estimate(points: Sequence[Point]) -> Estimate:
    """Take the first image through the model and the stages of each point, as far as time allows.

    The model is loaded; nothing is kept.

    Raises:
        AttnProbeError: the model can't be loaded, or the image not be segmented.
    """
    last = points[0].recipe
    sample = last.samples()[0]
    image, truth = sample.read(), sample.truth()
    pipeline = last.build()
    pipeline.attention(
        image
    )  # untimed: with the first pass libraries are loaded and memory is taken
    seen: dict[str, Any] = {}
    looks, cuts, pictures, fields = [], [], [], []
    end = time.perf_counter() + BUDGET
    for point in points:
        pipeline, last = pipeline_for(point.recipe, last, pipeline), point.recipe
        start = time.perf_counter()
        if _field_of(last) not in seen:
            seen[_field_of(last)] = pipeline.attention(image)
            looks.append(time.perf_counter() - start)
            fields.append(_bytes(seen[_field_of(last)].field))
        attention = seen[_field_of(last)]
        start = time.perf_counter()
        caption = sample.caption() if sample.caption else ""
        segmentation = pipeline.named(pipeline.cut(attention, truth), attention, caption)
        pictures.append(_written(segmentation, attention.seen))
        cuts.append(time.perf_counter() - start)
        if time.perf_counter() > end:
            break
    different = len({_field_of(point.recipe) for point in points})
    drawn = isinstance(image, Drawing)  # anew at each point, and not kept
    return Estimate(
        look=_mean(looks) * (len(points) if drawn else different),
        cut=_mean(cuts) * len(points),
        pictures=_mean(pictures) * len(points),
        fields=0 if drawn else _mean(fields) * different,
        timed=len(cuts),
    )


def _field_of(recipe: Recipe) -> str:
    """What decides the field of an image."""
    return repr((recipe.model, recipe.probe, recipe.aggregate, recipe.seed * recipe.probe.noise))


def _written(segmentation: Segmentation, seen: Image) -> int:
    """Bytes of the label file and the overlay."""
    with tempfile.TemporaryDirectory() as folder:
        labels, overlay = Path(folder, "labels.png"), Path(folder, "overlay.png")
        segmentation.save(labels)
        segmentation.overlay(seen).save(overlay)
        return labels.stat().st_size + overlay.stat().st_size


def _bytes(field: Any) -> int:
    """Of a field's tensors."""
    return sum(getattr(value, "nbytes", 0) for value in vars(field).values())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
