"""A segmentation's soft maps, one panel each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from attnprobe.errors import AttnProbeError
from attnprobe.fields import Segmentation
from attnprobe.pictures.palette import segment_colours
from attnprobe.pipeline import as_image
from attnprobe.view.plots.panels import aspect_of, key_to_maps, panels, show_map
from attnprobe.view.plots.plot import PAGE, Plot, style

if TYPE_CHECKING:
    from attnprobe.pipeline import ImageLike


@style()
def proposals(
    segmentation: Segmentation, image: ImageLike | None = None, *, width: float = PAGE
) -> Plot:
    """The soft map of every segment, the largest segment first, framed in its overlay's colour.

    Above each stands the segment's number or name and its share of the picture; proposals that
    win nowhere are left out. Each map goes from 0 to its own 99th percentile.

    Args:
        segmentation: with proposals.
        image: the picture to lay them over; alone by default.
        width: inches.

    Raises:
        AttnProbeError: the segmentation has no proposals.
    """
    maps = segmentation.proposals
    if maps is None:
        raise AttnProbeError(
            "proposals: the segmentation has no soft maps; of attnprobe's groupers diffseg, kmeans "
            "and others give them."
        )
    numbers, areas = np.unique(segmentation.labels, return_counts=True)
    order = np.argsort(-areas, kind="stable")
    colours = segment_colours(np.arange(len(order))) / 255
    picture = None if image is None else as_image(image)
    plot = Plot(width)
    axes = panels(plot, len(order), aspect_of(picture, maps.shape[1:]))
    names = segmentation.names or {}
    for axis, place, colour in zip(axes, order, colours, strict=True):
        number = int(numbers[place])
        show_map(axis, maps[number].cpu().numpy(), picture)
        axis.set_title(f"{names.get(number, number)}: {100 * areas[place] / areas.sum():.0f} %")
        axis.spines[:].set(visible=True, color=colour, linewidth=2)
    key_to_maps(plot, axes)
    return plot.trimmed()
