"""The picture whose segments are named, and what a labeller may ask about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL.Image import Image

from attnprobe.fields import WordMaps


@dataclass(frozen=True, eq=False)
class Subject:
    """What a labeller knows of a picture.

    Args:
        image: the part of it that was segmented, in mode RGB.
        word_maps: where some words of a text are looked at from in the picture, under that text:
            a pass of the model, or of the cache, a call.
        prompt: the text that the picture was shown with, or drawn from; empty if there was none.
        caption: the dataset's own text about the picture; empty if it has none.
        classes: the names of the dataset's classes; none if it has none.
    """

    image: Image
    word_maps: Callable[[str, tuple[str, ...]], WordMaps]
    prompt: str = ""
    caption: str = ""
    classes: tuple[str, ...] = ()
