"""Segments as supervision has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attnprobe.errors import AttnProbeError
from attnprobe.pictures.masks import masks_of

if TYPE_CHECKING:
    from supervision import Detections


def detections(labels: np.ndarray, names: dict[int, str]) -> Detections:
    """A detection a segment, by number; see `Segmentation.to_supervision`."""
    try:
        import supervision
    except ImportError:
        raise AttnProbeError(
            "to_supervision: supervision isn't installed: pip install supervision"
        ) from None
    masks = list(masks_of(labels))
    bits = np.stack([mask.bits for mask in masks])
    called = [names.get(mask.number, f"segment {mask.number}") for mask in masks]
    return supervision.Detections(
        xyxy=supervision.mask_to_xyxy(bits).astype(np.float32),
        mask=bits,
        class_id=np.array([mask.number for mask in masks]),
        data={"class_name": np.array(called)},
    )
