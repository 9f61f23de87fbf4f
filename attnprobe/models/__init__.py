"""Models: a preset or any diffusers pipeline, and one image's pass through it."""

from typing import TYPE_CHECKING

from attnprobe.lazy import names_from
from attnprobe.models.fit import ImageFit, fit_image, to_pixels
from attnprobe.models.presets import PRESETS, Preset
from attnprobe.models.spec import ModelSpec

if TYPE_CHECKING:
    from attnprobe.models.concepts import concept_embeddings
    from attnprobe.models.model import Model

__all__ = [
    "PRESETS",
    "ImageFit",
    "Model",
    "ModelSpec",
    "Preset",
    "concept_embeddings",
    "fit_image",
    "to_pixels",
]

#: Imported when they are first used: torch takes seconds.
__getattr__ = names_from(
    __name__,
    {"Model": "attnprobe.models.model", "concept_embeddings": "attnprobe.models.concepts"},
)
