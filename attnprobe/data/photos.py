"""Two photographs that every installation has: scikit-learn's samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from PIL import Image

from attnprobe.data.base import Sample, no_truth
from attnprobe.registry import source


@source("photos")
@dataclass(frozen=True)
class Photos:
    """The two photographs scikit-learn carries: a temple (china) and a flower, 640×427."""

    def __call__(self) -> Sequence[Sample]:
        """List the two photographs."""
        return [
            Sample(name, partial(_read, name), no_truth, f"scikit-learn's {name}.jpg")
            for name in ("china", "flower")
        ]


def _read(name: str) -> Image.Image:
    from sklearn.datasets import load_sample_image

    return Image.fromarray(load_sample_image(f"{name}.jpg"))
