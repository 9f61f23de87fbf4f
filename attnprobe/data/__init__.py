"""Image sources: each lists samples, which are read when they are asked for."""

from attnprobe.data import folder, photos, scenes
from attnprobe.data.base import Sample, Source
from attnprobe.data.images import IMAGE_SUFFIXES, read_image

__all__ = ["IMAGE_SUFFIXES", "Sample", "Source", "folder", "photos", "read_image", "scenes"]
