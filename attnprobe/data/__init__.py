"""Image sources: each lists samples, which are read when they are asked for."""

from attnprobe.data import folder, photos, prompts, scenes
from attnprobe.data.base import Drawing, Sample, Source
from attnprobe.data.images import IMAGE_SUFFIXES, read_image

__all__ = [
    "IMAGE_SUFFIXES",
    "Drawing",
    "Sample",
    "Source",
    "folder",
    "photos",
    "prompts",
    "read_image",
    "scenes",
]
