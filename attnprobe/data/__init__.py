"""Image sources: each lists samples, which are read when they are asked for."""

from attnprobe.data import (
    ade20k,
    bsds500,
    camvid,
    cityscapes,
    coco,
    domainnet,
    folder,
    hf,
    pascal_context,
    pascal_voc,
    photos,
    prompts,
    scenes,
)
from attnprobe.data.base import Classes, Drawing, Sample, Source
from attnprobe.pictures.reading import IMAGE_SUFFIXES, read_image

__all__ = [
    "IMAGE_SUFFIXES",
    "Classes",
    "Drawing",
    "Sample",
    "Source",
    "ade20k",
    "bsds500",
    "camvid",
    "cityscapes",
    "coco",
    "domainnet",
    "folder",
    "hf",
    "pascal_context",
    "pascal_voc",
    "photos",
    "prompts",
    "read_image",
    "scenes",
]
