"""Where words lie in a picture: a heat map a word, and how it differs by step, head and layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from attnprobe.aggregate import Cross
from attnprobe.errors import AttnProbeError, did_you_mean
from attnprobe.fields import WordMaps, refuse_nan
from attnprobe.hooks import Capture, PerHead, Records
from attnprobe.pictures.heat import heat
from attnprobe.pipeline import as_image
from attnprobe.view.plots.attention import short_names
from attnprobe.view.plots.panels import aspect_of, columns_for, key_to_maps, panels, show_map
from attnprobe.view.plots.plot import PAGE, Plot, style
from attnprobe.view.plots.steps import StepsPlot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from attnprobe.hooks.rows import Item
    from attnprobe.pipeline import ImageLike

Seen = Capture | Records

_FRAME = 256
"""Side in pixels of a film's frame where there is no picture."""


@style()
def word_maps(
    words: WordMaps | Seen,
    image: ImageLike | None = None,
    *,
    item: Item = None,
    width: float = PAGE,
) -> Plot:
    """A heat map a word over the picture (Tang et al. 2023, DAAM), its word above it.

    Of a capture it is the mean over its layers and steps, as the aggregator `cross` takes it. Each
    map goes from its lowest value to its 99th percentile, as DAAM has it: bright is where the word
    is looked at most, however little that is, and not where it is looked at more than others.

    Args:
        words: maps (K, H, W) and the word of each, or a capture that kept words.
        image: the picture to lay them over; alone by default.
        item: of a capture; the prompt's branch by default, see `Records.at`.
        width: inches.

    Raises:
        AttnProbeError: something else is given, or steps were kept apart.
    """
    found = words if isinstance(words, WordMaps) else _mean(_records(words, "word_maps"), item)
    refuse_nan([found], "word_maps")
    picture = None if image is None else as_image(image)
    plot = Plot(width)
    axes = panels(plot, len(found.words), aspect_of(picture, found.grid))
    for axis, word, values in zip(axes, found.words, found.maps, strict=True):
        _show(axis, values.cpu().numpy(), picture)
        axis.set_title(word)
    key_to_maps(plot, axes, low="min")
    return plot.trimmed()


@style()
def word_over_steps(
    capture: Seen,
    image: ImageLike | None = None,
    *,
    word: str | None = None,
    item: Item = None,
    width: float = PAGE,
) -> StepsPlot:
    """Words while a picture is denoised: a row a word, a column a step, their mean at the edge.

    Steps that don't fit are left out evenly; saved as a film, ``.gif`` or ``.mp4``, it has all of
    them. Each map goes from its lowest value to its 99th percentile, so that what is bright early
    may be less than what is dark late.

    Args:
        capture: of words, each step kept: ``over_steps="each"``.
        image: the picture to lay them over; alone by default.
        word: one of those captured; all by default.
        item: the prompt's branch by default; see `Records.at`.
        width: inches.

    Raises:
        AttnProbeError: no words were kept, steps were averaged, or there is no such word.
    """
    records = _records(capture, "word_over_steps")
    if records.over_steps == "mean":
        raise AttnProbeError(
            "word_over_steps: each step must have been kept, by capture(…, over_steps='each')"
        )
    steps = _steps(records)
    each = [_of_word(Cross()(records.words(item, step)), word) for step in steps]
    refuse_nan(each, "word_over_steps")
    maps = np.stack([maps.maps.cpu().numpy() for maps in each])
    picture = None if image is None else as_image(image)
    columns = min(len(steps), max(1, columns_for(width) - 1))
    shown = np.linspace(0, len(steps) - 1, columns).round().astype(int)
    plot = StepsPlot(width)
    words = each[0].words
    axes = panels(plot, len(words) * (columns + 1), aspect_of(picture, each[0].grid), columns + 1)
    for place, axis in enumerate(axes):
        row, column = divmod(place, columns + 1)
        last = column == columns
        _show(axis, maps[:, row].mean(0) if last else maps[shown[column], row], picture)
        if row == 0:
            axis.set_title("mean" if last else f"step {steps[shown[column]]}")
        if column == 0:
            axis.set_ylabel(words[row])
    key_to_maps(plot, axes, low="min")
    plot.frames = [_frame(values, picture) for values in maps]
    return plot.trimmed()


@style()
def word_over_layers(
    capture: Seen,
    image: ImageLike | None = None,
    *,
    word: str | None = None,
    item: Item = None,
    step: int | None = None,
    width: float = PAGE,
) -> Plot:
    """One word in every layer, row by row in the model's order, and their mean at the end.

    Each map goes from its lowest value to its 99th percentile.

    Args:
        capture: of words.
        image: the picture to lay them over; alone by default.
        word: which, where several were captured.
        item: the prompt's branch by default; see `Records.at`.
        step: number of the step, where each was kept and there are several.
        width: inches.

    Raises:
        AttnProbeError: no words were kept, or which word or step is meant isn't said.
    """
    records = _records(capture, "word_over_layers")
    layers = records.words(item, step)
    one = _one(layers[0].words, word, "word_over_layers")
    each = [*layers, Cross()(layers)]
    refuse_nan(each, "word_over_layers")
    names = [*short_names([layer.origin for layer in layers]), "mean"]
    picture = None if image is None else as_image(image)
    plot = Plot(width)
    axes = panels(plot, len(each), aspect_of(picture, layers[0].grid))
    for axis, maps, name in zip(axes, each, names, strict=True):
        _show(axis, maps[one].cpu().numpy(), picture)
        axis.set_title(f"{name}\n{maps.grid[0]}×{maps.grid[1]}")
    key_to_maps(plot, axes, low="min")
    return plot.trimmed()


@style()
def word_over_heads(
    capture: Seen,
    image: ImageLike | None = None,
    *,
    word: str | None = None,
    item: Item = None,
    step: int | None = None,
    width: float = PAGE,
) -> Plot:
    """One word in every head: a row a layer, a column a head, their mean at the edge.

    Each map goes from its lowest value to its 99th percentile.

    Args:
        capture: of words by head, ``capture(…, keep=ap.PerHead(words=…))``.
        image: the picture to lay them over; alone by default.
        word: which, where several were captured.
        item: the prompt's branch by default; see `Records.at`.
        step: number of the step, where each was kept and there are several.
        width: inches.

    Raises:
        AttnProbeError: heads were not kept apart, or which word or step is meant isn't said.
    """
    records = _records(capture, "word_over_heads")
    if not isinstance(records.keep, PerHead):
        raise AttnProbeError(
            "word_over_heads: heads must have been kept, by capture(…, keep=ap.PerHead(words=…)). "
            f"Got {records.keep!r} instead."
        )
    mean = records.words(item, step)
    refuse_nan(mean, "word_over_heads")
    one = _one(mean[0].words, word, "word_over_heads")
    heads = records.keep.heads or range(max(record.heads for record in records.records.values()))
    by_head = {
        head: {maps.origin: maps for maps in records.words(item, step, head)} for head in heads
    }
    names = short_names([layer.origin for layer in mean])
    picture = None if image is None else as_image(image)
    plot = Plot(width)
    columns = [*by_head, None]
    axes = panels(plot, len(mean) * len(columns), aspect_of(picture, mean[0].grid), len(columns))
    for place, axis in enumerate(axes):
        row, column = divmod(place, len(columns))
        layer, head = mean[row], columns[column]
        maps = layer if head is None else by_head[head].get(layer.origin)
        if maps is not None:
            _show(axis, maps[one].cpu().numpy(), picture)
        if row == 0:
            axis.set_title("mean" if head is None else f"head {head}")
        if column == 0:
            axis.set_ylabel(f"{names[row]}\n{layer.grid[0]}×{layer.grid[1]}")
    key_to_maps(plot, axes, low="min")
    return plot.trimmed()


def _records(capture: Seen, who: str) -> Records:
    records = capture.records if isinstance(capture, Capture) else capture
    if not isinstance(records, Records):
        raise AttnProbeError(
            f"{who} draws a capture of words, by capture(…, keep=ap.TokenMaps.of(…)). "
            f"Got {type(capture).__name__}."
        )
    return records


def _mean(records: Records, item: Item) -> WordMaps:
    """The mean over layers, and over steps where each was kept."""
    steps: Sequence[int | None] = _steps(records) if records.over_steps == "each" else (None,)
    each = [Cross()(records.words(item, step)) for step in steps]
    maps = torch.stack([maps.maps for maps in each]).mean(0)
    return WordMaps(maps, each[0].words, origin=each[0].origin)


def _steps(records: Records) -> list[int]:
    return [passes[0].steps[0] for passes in next(iter(records.records.values())).steps]


def _show(axis: Axes, values: np.ndarray, picture: Image.Image | None) -> None:
    show_map(axis, values, picture, low=float(values.min()))


def _of_word(maps: WordMaps, word: str | None) -> WordMaps:
    """The maps of one word, or all."""
    if word is None:
        return maps
    return WordMaps(maps[word][None], (word,), origin=maps.origin)


def _one(words: tuple[str, ...], word: str | None, who: str) -> str:
    """The word that is meant."""
    if word is None and len(words) > 1:
        raise AttnProbeError(
            f"{who}: shows one word; say which by word=, of {', '.join(words[:8])}"
        )
    if word is not None and word not in words:
        raise AttnProbeError(
            f"{who}: {word!r} is none of the words that were captured{did_you_mean(word, [*words])}"
        )
    return words[0] if word is None else word


def _frame(maps: np.ndarray, picture: Image.Image | None) -> Image.Image:
    """A film's frame: the words' maps (K, H, W) side by side."""
    if picture is None:
        size = _FRAME, round(_FRAME * maps.shape[1] / maps.shape[2])
        each = [heat(Image.new("RGB", size), values, alpha=1) for values in maps]
    else:
        each = [heat(picture, values) for values in maps]
    row = Image.new("RGB", (sum(one.width for one in each), each[0].height))
    for place, one in enumerate(each):
        row.paste(one, (place * one.width, 0))
    return row
