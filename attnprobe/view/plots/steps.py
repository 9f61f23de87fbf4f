"""How segments form while a picture is denoised: side by side, and as a film."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.optimize import linear_sum_assignment

from attnprobe.errors import AttnProbeError
from attnprobe.fields import Segmentation
from attnprobe.pictures.palette import ranked_by_area, segment_colours
from attnprobe.pipeline import as_image
from attnprobe.view.plots.film import write_gif, write_mp4
from attnprobe.view.plots.panels import aspect_of, columns_for, panels
from attnprobe.view.plots.plot import PAGE, Plot, style

if TYPE_CHECKING:
    from attnprobe.pipeline import ImageLike

_ALPHA = 0.55
"""How much the colours cover the picture, as in an overlay."""


class StepsPlot(Plot):
    """A plot of some steps that is also saved as a film of all of them: ``.gif`` or ``.mp4``.

    Attributes:
        frames: a picture a step.
    """

    frames: Sequence[Image.Image] = ()

    def formats(self) -> list[str]:
        """Suffixes that `save` knows; ``.mp4`` needs the program ffmpeg."""
        return [*super().formats(), ".mp4"]

    def _write(self, path: Path, suffix: str) -> None:
        if suffix == ".gif":
            write_gif(self.frames, path)
        elif suffix == ".mp4":
            write_mp4(self.frames, path)
        else:
            super()._write(path, suffix)


@style()
def segments_over_time(
    segmentations: Sequence[Segmentation],
    image: ImageLike,
    *,
    steps: Sequence[int] | None = None,
    width: float = PAGE,
) -> StepsPlot:
    """How segments form through denoising: some steps side by side; saved as a film, all.

    A segment keeps its colour from step to step: going back from the last step, whose colours are
    its overlay's, each segment is matched to the one it shares the most pixels with, one to one.

    Args:
        segmentations: one a step, in order.
        image: the picture that was drawn.
        steps: the steps' numbers; from 0 by default.
        width: inches.

    Raises:
        AttnProbeError: there is no segmentation, or not one number each.
    """
    numbers = range(len(segmentations)) if steps is None else steps
    if not segmentations or len(numbers) != len(segmentations):
        raise AttnProbeError(
            "segments_over_time: needs one segmentation or more, and a step's number for each. "
            f"Got {len(segmentations)} and {len(numbers)} instead."
        )
    picture = as_image(image)
    size = (picture.height, picture.width)
    labels = followed([each.resized(size).labels for each in segmentations])
    shown = np.linspace(0, len(labels) - 1, min(len(labels), columns_for(width))).round()
    plot = StepsPlot(width)
    axes = panels(plot, len(shown), aspect_of(picture, size), len(shown))
    plot.frames = [_coloured(picture, each) for each in labels]
    for axis, place in zip(axes, shown.astype(int), strict=True):
        axis.imshow(plot.frames[place])
        count = segmentations[place].count
        axis.set_title(f"step {numbers[place]}\n{count} segment{'s' * (count != 1)}")
    return plot.trimmed()


def followed(labels: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Labels of each step renumbered, so that a segment has one number through all steps.

    The last step's are 0, 1, … by area; a segment that none is left for gets a new number.
    """
    last, rank = ranked_by_area(labels[-1])
    done = [rank[last + 1]]
    free = int(done[0].max()) + 1
    for earlier in labels[-2::-1]:
        kinds, places = np.unique(earlier, return_inverse=True)
        shared = np.zeros((len(kinds), free), np.int64)
        np.add.at(shared, (places.ravel(), done[0].ravel()), 1)
        numbers = np.full(len(kinds), -1)
        row, column = linear_sum_assignment(shared, maximize=True)
        met = shared[row, column] > 0
        numbers[row[met]] = column[met]
        new = numbers < 0
        numbers[new] = free + np.arange(new.sum())
        free += int(new.sum())
        done.insert(0, numbers[places].reshape(earlier.shape))
    return done


def _coloured(picture: Image.Image, labels: np.ndarray) -> Image.Image:
    """The picture under its segments' colours, by number, with white lines between them."""
    pixels = segment_colours(labels.ravel()).reshape(*labels.shape, 3)
    mixed = np.array(Image.blend(picture, Image.fromarray(pixels), _ALPHA))
    mixed[:, 1:][labels[:, 1:] != labels[:, :-1]] = 255
    mixed[1:][labels[1:] != labels[:-1]] = 255
    return Image.fromarray(mixed)
