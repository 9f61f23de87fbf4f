"""Protocols: which part of an image is scored, at which size, and how segments meet classes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from attnprobe.data.base import Truth, each_person
from attnprobe.errors import AttnProbeError
from attnprobe.evaluate.metrics import (
    ForegroundMetric,
    HungarianMetric,
    MajorityMetric,
    Metric,
    OverlapMetric,
)
from attnprobe.registry import checked

Match = Literal["per-image", "per-dataset", "majority", "foreground", "best-overlap"]

Size = tuple[int, int]
"""Height and width."""

Side = Annotated[int, Ge(1), Le(16384)]
"""Of a square, in pixels."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""


@checked
@dataclass(frozen=True)
class Protocol:
    """How predictions are scored against truths.

    Void pixels of the truth count nowhere, and unassigned pixels of a prediction as missed, in
    every protocol.

    Args:
        name: what it is called.
        match: how segments meet classes: ``per-image`` and ``per-dataset``, one to one
            (`HungarianMetric`); ``majority``, many to one (`MajorityMetric`); ``foreground``, what
            no class takes is background (`ForegroundMetric`); ``best-overlap`` (`OverlapMetric`).
        crop: ``centre-square``, side min(H, W), offsets rounded down; or None, nothing is cut.
        size: side of the square at which is scored, to which truths and labels are resized
            nearest; or None, at the image's own size.
        background: the background's class, which ``foreground`` needs.
        people: whether covering, PRI, VI and lines are scored over people (`people_scores`).

    Raises:
        AttnProbeError: a value isn't allowed; `foreground` has no background, or another match one.
    """

    name: str
    match: Match = "per-image"
    crop: Literal["centre-square"] | None = None
    size: Side | None = None
    background: Annotated[int, Ge(0)] | None = None
    people: bool = False

    def __post_init__(self) -> None:
        if (self.match == "foreground") != (self.background is not None):
            raise AttnProbeError(
                "background: the number of the background's class is what match: foreground "
                f"needs, and no other match has. Got {self.background} for {self.match} instead."
            )

    def metric(self, classes: int) -> Metric:
        """An empty metric over so many classes.

        Raises:
            ComponentError: there are no classes, or `background` is none of them.
        """
        match self.match:
            case "per-image" | "per-dataset":
                return HungarianMetric(classes, self.match)
            case "majority":
                return MajorityMetric(classes)
            case "best-overlap":
                return OverlapMetric(classes)
        assert self.background is not None
        return ForegroundMetric(classes, self.background)

    def box(self, image: Size) -> Box:
        """The part of an image (H, W) that is scored."""
        height, width = image
        if self.crop is None:
            return 0, 0, width, height
        side = min(image)
        left, top = (width - side) // 2, (height - side) // 2
        return left, top, left + side, top + side

    def resized(self, labels: np.ndarray) -> np.ndarray:
        """Labels (H, W), cut already, at the size at which is scored."""
        return labels if self.size is None else nearest(labels, (self.size, self.size))

    def seen(self, truth: Truth, box: Box) -> Truth:
        """A part of the truth, or of each person's, at the size at which is scored."""
        left, top, right, bottom = box
        parts = [self.resized(each[top:bottom, left:right]) for each in each_person(truth)]
        return tuple(parts) if isinstance(truth, tuple) else parts[0]

    def to_dict(self) -> dict[str, Any]:
        """The protocol as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        size = "own size" if self.size is None else f"{self.size}×{self.size}"
        background = "" if self.background is None else f" (background {self.background})"
        crop = "nothing cut" if self.crop is None else "centre square"
        people = "; covering, PRI, VI and boundaries over people" if self.people else ""
        return f"{self.name}: match {self.match}{background}, {crop}, {size}{people}"


def nearest(labels: np.ndarray, size: Size) -> np.ndarray:
    """Labels at another size: pixel i takes the one under its centre, ⌊(i + ½) · scale⌋.

    So do Pillow, torch's "nearest-exact" and TensorFlow's ``tf.image.resize``, which the program
    of Tian et al. uses; torch's "nearest" and OpenCV leave out the half.
    """
    rows, columns = (
        (2 * np.arange(n) + 1) * s // (2 * n) for n, s in zip(size, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns]


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("whole"),
        Protocol("released", crop="centre-square", size=512),
        Protocol("diffcut", crop="centre-square", size=128),
        Protocol("diffcut-voc", "foreground", crop="centre-square", size=128, background=0),
        Protocol("bsds", "best-overlap", people=True),
    )
}
"""By name: `whole`, everything at its own size; `released`, as Tian et al. 2024 score; `diffcut`
and `diffcut-voc`, as Couairon et al. 2024 do without and with a background class; `bsds`, as
Arbeláez et al. 2011 do against several people's truths."""

ProtocolName = Literal["whole", "released", "diffcut", "diffcut-voc", "bsds"]
