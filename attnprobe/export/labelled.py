"""An image of a run, as exports take it."""

from __future__ import annotations

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
    """

    name: str
    labels: np.ndarray
    picture: Image.Image | None = None
