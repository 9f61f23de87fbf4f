"""What an image source lists: samples, which are read only when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL.Image import Image


@dataclass(frozen=True)
class Drawing:
    """A picture that isn't there yet: the model is to draw it.

    Args:
        prompt: text condition.
        steps: how many denoising steps.
        guidance: scale of classifier-free guidance; 1 is none.
        seed: of the noise it begins with.
    """

    prompt: str
    steps: int
    guidance: float
    seed: int


@dataclass(frozen=True)
class Sample:
    """One image of a source, and its truth where there is one.

    Args:
        name: unique within a source and safe as a relative file name; without a suffix.
        read: the picture, in mode RGB, or a drawing to be made; raises ImageError.
        truth: the true labels at the picture's size, integers (H, W) with −1 for void, or None.
        where: path or description, for messages.

    `read` and `truth` should be picklable (a `functools.partial`, no lambda), so that a run may
    hand samples to other processes.
    """

    name: str
    read: Callable[[], Image | Drawing]
    truth: Callable[[], np.ndarray | None]
    where: str


class Source(Protocol):
    """An image source: a registered component that lists samples and reads no pixels."""

    def __call__(self) -> Sequence[Sample]:
        """List the samples; raises ImageError if there are none."""
        ...


def no_truth() -> None:
    """The truth of a sample that has none."""
