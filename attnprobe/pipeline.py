"""One image through the stages, in order: probe, aggregate, group, refine, label."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from attnprobe.aggregate.cross import Cross
from attnprobe.cache import FieldCache
from attnprobe.data.base import Drawing, Truth, each_person
from attnprobe.errors import ComponentError, ImageError
from attnprobe.field_key import field_key
from attnprobe.fields import AnyField, Segmentation, WordMaps, refuse_nan
from attnprobe.label.subject import Subject
from attnprobe.models.fit import ImageFit
from attnprobe.models.model import Model
from attnprobe.pictures.labels import check_size
from attnprobe.pictures.reading import array_rgb, naming, read_image, upright_rgb
from attnprobe.probe import MAPS, Need, Probe
from attnprobe.stages import group_and_refine, misfit

ImageLike = str | Path | Image.Image | np.ndarray
"""A picture's file, a PIL image, or an array such as (H, W, 3) of uint8."""


@dataclass(frozen=True, eq=False)
class ImageAttention:
    """An image and its aggregated attention.

    Args:
        picture: upright, in mode RGB: the one given, or what the model drew.
        fitted: the part of it that the model saw, and at which size.
        field: the aggregated attention of that part.
        drawing: what the model drew the picture from, if it did.
    """

    picture: Image.Image
    fitted: ImageFit
    field: AnyField
    drawing: Drawing | None = None

    @cached_property
    def seen(self) -> Image.Image:
        """The part of the picture that the model saw."""
        return self.picture.crop(self.fitted.box)


@dataclass(frozen=True)
class Pipeline:
    """A model and the components that turn its attention into segments.

    A recipe's ``build()`` makes one; so can anybody, from any callables of the same form. With a
    cache, an image whose field is kept there doesn't go through the model again. Only fields of
    which all is known are kept: see `attnprobe.field_key`.

    Examples:
        >>> pipeline = ap.load_recipe("diffseg", ["probe.size=64"]).build()
        >>> pipeline.segment("photo.jpg").size
        (213, 320)
    """

    model: Model
    probe: Probe
    aggregate: Callable[..., AnyField]
    group: Callable[..., Segmentation]
    refine: tuple[Callable[..., Segmentation], ...] = ()
    seed: int = 0
    cache: FieldCache | None = None
    label: Callable[..., Segmentation] | None = None

    def __post_init__(self) -> None:
        wrong = misfit(self.aggregate, self.group, self.refine)
        if wrong is not None:
            raise ComponentError(f"Pipeline.{wrong[0][0]}: {wrong[1]}")

    def fields(self, image: ImageLike) -> list[AnyField]:
        """What was captured for the aggregator, one field a layer."""
        return self.probe(self.model, as_image(image), self.seed, self.needs)

    @property
    def needs(self) -> Collection[Need]:
        """What the aggregator needs of a capture."""
        return _needs(self.aggregate)

    def field(self, image: ImageLike) -> AnyField:
        """The aggregated attention."""
        return self.attention(image).field

    def attention(self, image: ImageLike | Drawing) -> ImageAttention:
        """The picture, what is seen of it, and its aggregated attention.

        A drawing is made, and watched meanwhile.
        """
        if isinstance(image, Drawing):
            return self._drawn(image, self.probe, self.aggregate)
        picture = as_image(image)
        fitted = self.probe.fitted(self.model, picture)
        field = self._field(picture, fitted, self.probe, self.aggregate)
        return ImageAttention(picture, fitted, field)

    def segment(self, image: ImageLike | Drawing, truth: Truth | None = None) -> Segmentation:
        """Segment an image.

        Args:
            image: path, PIL image, array such as (H, W, 3) uint8, or what the model is to draw.
            truth: (H, W) labels, −1 void, for groupers that are told the true number. Where several
                people give one each there is no true number, and groupers are told none.

        Returns:
            Labels at the image's own size (of the part that is seen, if the probe crops), with
            names if there is a labeller.
        """
        attention = self.attention(image)
        return self.named(self.cut(attention, truth), attention)

    def cut(self, attention: ImageAttention, truth: Truth | None = None) -> Segmentation:
        """Group and refine an image's aggregated attention; see `segment`.

        Raises:
            ImageError: the truth isn't of the picture's size.
            ComponentError: the field isn't of the kind that a stage works on.
        """
        picture, fitted = attention.picture, attention.fitted
        for each in () if truth is None else each_person(truth):
            check_size(each, (picture.height, picture.width))
        one = truth[0] if isinstance(truth, tuple) and len(truth) == 1 else truth
        told = fitted.crop(one) if isinstance(one, np.ndarray) else None
        stages = self.group, self.refine
        found = group_and_refine(attention.field, attention.seen, *stages, self.seed, told)
        return found.resized(fitted.box_size)

    def named(
        self,
        segmentation: Segmentation,
        attention: ImageAttention,
        caption: str = "",
        classes: tuple[str, ...] = (),
    ) -> Segmentation:
        """The segments under the names that the labeller gives them; as they are without one.

        Args:
            segmentation: the segments, at the size of what was seen.
            attention: of which they were cut.
            caption: what the dataset says of the picture.
            classes: the names of the dataset's classes.
        """
        if self.label is None:
            return segmentation
        drawing = attention.drawing

        def word_maps(text: str, words: tuple[str, ...]) -> WordMaps:
            probe = replace(self.probe, prompt=text, words=words, emphasis=1.0)
            if drawing is not None and drawing.prompt == text:
                return cast(WordMaps, self._drawn(drawing, probe, Cross()).field)
            return self._field(attention.picture, attention.fitted, probe, Cross())

        prompt = self.probe.prompt if drawing is None else drawing.prompt
        subject = Subject(attention.seen, word_maps, prompt, caption, classes)
        return self.label(segmentation, subject, rng=np.random.default_rng(self.seed))

    def _drawn(
        self, drawing: Drawing, probe: Probe, aggregate: Callable[..., Any]
    ) -> ImageAttention:
        """A picture that the model draws, watched meanwhile."""
        drawn, fields = probe.draw(self.model, drawing, _needs(aggregate))
        fitted = probe.fitted(self.model, drawn)
        return ImageAttention(drawn, fitted, _aggregated(fields, aggregate), drawing)

    def _field(
        self, picture: Image.Image, fitted: ImageFit, probe: Probe, aggregate: Callable[..., Any]
    ) -> Any:
        """A picture's aggregated attention, from the cache where it is kept there."""

        def compute() -> AnyField:
            given = self.model, picture, self.seed, _needs(aggregate), fitted
            return _aggregated(probe(*given), aggregate)

        if self.cache is None:
            return compute()
        key = field_key(self.model, probe, aggregate, picture, self.seed)
        return compute() if key is None else self.cache.field(key, compute)


def _needs(aggregate: Any) -> Collection[Need]:
    return getattr(aggregate, "needs", MAPS)


def _aggregated(fields: list[AnyField], aggregate: Callable[..., Any]) -> Any:
    refuse_nan(fields, "Pipeline")
    return aggregate(fields)


def as_image(image: ImageLike) -> Image.Image:
    """A path, PIL image or array as an upright RGB picture; all get what a file gets.

    See `read_image` and `array_rgb`.

    Raises:
        ImageError: the file can't be read, or the image or array holds no picture.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        with naming("the image given"):
            return upright_rgb(image)
    if isinstance(image, np.ndarray):
        return array_rgb(image)
    raise ImageError(
        f"an image is a path, a PIL image or a NumPy array. Got {type(image).__name__} instead."
    )
