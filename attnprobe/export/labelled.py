"""An image of a run, as exports take it, and the categories of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True, eq=False)
class Labelled:
    """An image of a run.

    Args:
        name: the sample's.
        labels: (H, W), 0 or more.
        picture: what was segmented, of the labels' size, where the form wants it.
        names: what segments are called, by number; None if nobody was to name them.
    """

    name: str
    labels: np.ndarray
    picture: Image.Image | None = None
    names: Mapping[int, str] | None = None

    def called(self, number: int) -> str | None:
        """What a segment is called, or None."""
        return (self.names or {}).get(number)


class Categories:
    """The names met so far, in order, after the one of segments that have none."""

    NAMELESS = "segment"

    def __init__(self) -> None:
        self.names = [self.NAMELESS]

    def of(self, image: Labelled, number: int) -> int:
        """The place in `names` of what a segment is called, from 0."""
        name = image.called(number)
        if name is None:
            return 0
        if name not in self.names[1:]:  # a name may be that word too
            self.names.append(name)
        return self.names.index(name, 1)
