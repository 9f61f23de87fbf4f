"""Where words lie in a picture: a heat map a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attnprobe.errors import AttnProbeError
from attnprobe.fields import WordMaps, refuse_nan
from attnprobe.pipeline import as_image
from attnprobe.view.plots.panels import aspect_of, key_to_maps, panels, show_map
from attnprobe.view.plots.plot import PAGE, Plot, style

if TYPE_CHECKING:
    from attnprobe.pipeline import ImageLike


@style()
def word_maps(words: WordMaps, image: ImageLike | None = None, *, width: float = PAGE) -> Plot:
    """A heat map a word over the picture (Tang et al. 2023, DAAM), its word above it.

    Each map goes from its lowest value to its 99th percentile, as DAAM has it: bright is where the
    word is looked at most, however little that is, and not where it is looked at more than others.

    Args:
        words: maps (K, H, W) and the word of each.
        image: the picture to lay them over; alone by default.
        width: inches.

    Raises:
        AttnProbeError: something else is given.
    """
    if not isinstance(words, WordMaps):
        raise AttnProbeError(
            f"word_maps draws WordMaps, such as capture.words()[0]. Got {type(words).__name__}."
        )
    refuse_nan([words], "word_maps")
    picture = None if image is None else as_image(image)
    plot = Plot(width)
    axes = panels(plot, len(words.words), aspect_of(picture, words.grid))
    for axis, word, values in zip(axes, words.words, words.maps, strict=True):
        show_map(axis, values.cpu().numpy(), picture, low=float(values.min()))
        axis.set_title(word)
    key_to_maps(plot, axes, low="min")
    return plot.trimmed()
