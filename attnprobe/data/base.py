"""What an image source lists: samples, which are read only when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from annotated_types import Ge, MinLen
from PIL.Image import Image
from pydantic import BeforeValidator

from attnprobe.errors import AttnProbeError

VOID = -1
"""The label of pixels that don't count."""


def _as_text(path: Any) -> Any:
    return str(path) if isinstance(path, Path) else path


PathText = Annotated[str, MinLen(1), BeforeValidator(_as_text)]
"""A file or folder; relative to the working directory, ~ is the home directory."""

Count = Annotated[int, Ge(1)]
Start = Annotated[int, Ge(0)]


@dataclass(frozen=True, eq=False)
class Classes:
    """What the truth's labels 0 … C − 1 stand for.

    Args:
        names: (C,) by label; not always different ("food" is a thing and stuff in COCO-Stuff-27).
        colours: (C, 3) uint8, the dataset's own, or None where it has none.

    Raises:
        AttnProbeError: there are no names, or the colours aren't (C, 3) uint8.
    """

    names: tuple[str, ...]
    colours: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not self.names:
            raise AttnProbeError("Classes: at least one name is needed")
        if self.colours is None:
            return
        if self.colours.shape != (len(self.names), 3) or self.colours.dtype != np.uint8:
            raise AttnProbeError(
                f"Classes: colours must be ({len(self.names)}, 3) uint8, one a name. "
                f"Got {self.colours.shape} {self.colours.dtype} instead."
            )
        self.colours.setflags(write=False)

    def __len__(self) -> int:
        return len(self.names)


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


Truth = np.ndarray | tuple[np.ndarray, ...]
"""True labels (H, W), integers with −1 for void; or several such, one from each person."""


def each_person(truth: Truth) -> tuple[np.ndarray, ...]:
    """The truths of an image, one where only one is known."""
    return truth if isinstance(truth, tuple) else (truth,)


@dataclass(frozen=True)
class Sample:
    """One image of a source, and its truth where there is one.

    Args:
        name: unique within a source and safe as a relative file name; without a suffix.
        read: the picture, in mode RGB, or a drawing to be made; raises ImageError.
        truth: the true labels at the picture's size, integers (H, W) with −1 for void; a tuple of
            such where several people segmented it; or None.
        where: path or description, for messages.
        files: the picture's and, where there is one, the label file, by which a run knows the
            image again; none of an image that is in no file of its own.
        caption: what the dataset says of the picture in words, or None.

    `read`, `truth` and `caption` should be picklable (a `functools.partial`, no lambda), so that a
    run may hand samples to other processes.

    Examples:
        >>> from functools import partial
        >>> read = partial(ap.read_image, "photo.jpg")
        >>> sample = ap.Sample("photo", read, truth=lambda: None, where="photo.jpg")
        >>> sample.read().size
        (320, 213)
    """

    name: str
    read: Callable[[], Image | Drawing]
    truth: Callable[[], Truth | None]
    where: str
    files: tuple[Path, ...] = ()
    caption: Callable[[], str] | None = None


class Source(Protocol):
    """An image source: a registered component that lists samples and reads no pixels.

    One whose truth has the same classes in every image says so in a property `classes` (a
    `Classes`), which others lack or have as None: ``getattr(source, "classes", None)``.
    """

    def __call__(self) -> Sequence[Sample]:
        """List the samples; raises ImageError if there are none."""
        ...


def no_truth() -> None:
    """The truth of a sample that has none."""
