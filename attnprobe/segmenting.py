"""From a field to segments: grouped, then refined, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL.Image import Image

from attnprobe.fields import AnyField, Segmentation
from attnprobe.stages import check_given


def group_and_refine(
    field: AnyField,
    image: Image,
    group: Callable[..., Segmentation],
    refine: Sequence[Callable[..., Segmentation]],
    seed: int,
    truth: np.ndarray | None = None,
) -> Segmentation:
    """Segment a field.

    Args:
        field: aggregated attention.
        image: the picture that it is of, all of it and nothing else.
        group: cuts the field into segments.
        refine: what is then done to them, in order.
        seed: of the one random generator that all of these draw from.
        truth: (H, W) labels at the image's size, −1 void, for groupers that are told of it.

    Returns:
        Labels at the size of the last stage's answer, often the field's grid.

    Raises:
        ComponentError: the field isn't of the kind that a stage works on.
    """
    for stage in (group, *refine):
        check_given(stage, field)
    rng = np.random.default_rng(seed)
    segmentation = group(field, rng=rng, truth=truth)
    for stage in refine:
        segmentation = stage(segmentation, field, rng=rng, image=image)
    return segmentation
