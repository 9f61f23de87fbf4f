"""Attention maps over the picture: layers by steps, and the heads of one layer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from attnprobe.errors import AttnProbeError, did_you_mean
from attnprobe.fields import AttentionField
from attnprobe.hooks import Capture, PerHead, Records
from attnprobe.pipeline import as_image
from attnprobe.view.layer_maps import Maps, maps_of
from attnprobe.view.plots.panels import (
    Place,
    aspect_of,
    columns_for,
    key_to_maps,
    panels,
    place_in,
    show_map,
)
from attnprobe.view.plots.plot import PAGE, Plot, style

if TYPE_CHECKING:
    from attnprobe.hooks.rows import Item
    from attnprobe.pipeline import ImageLike


@style()
def attention_grid(
    capture: Capture | Records,
    image: ImageLike | None = None,
    *,
    at: Place | None = None,
    item: Item = None,
    steps: Sequence[int] | None = None,
    width: float = PAGE,
) -> Plot:
    """Maps of self- and joint-attention: a row a layer, a column a denoising step.

    Each map goes from 0 to its own 99th percentile, for a coarse grid's entries are larger than a
    fine one's. Steps that were averaged are one column.

    Args:
        capture: what was kept, with a recorder of whole maps.
        image: the picture to lay them over; alone by default.
        at: whose map is shown, row and column as shares of the picture; by default the mean over
            all queries, which says where the picture is looked at most.
        item: the prompt's branch by default, ``"uncond"``, or a row's number; see `Records.at`.
        steps: numbers of the steps shown; by default some, first and last among them.
        width: inches.

    Raises:
        AttnProbeError: `at` is outside the picture, a step was not kept.
    """
    records = _records(capture)
    columns = _steps(records, steps, columns_for(width - 0.7))
    fields = [records.fields(item, step) for step in columns]
    names = short_names([field.origin for field in fields[0]])
    picture = None if image is None else as_image(image)
    plot = Plot(width)
    count = len(names) * len(columns)
    axes = panels(plot, count, aspect_of(picture, fields[0][0].grid), len(columns))
    for place, axis in enumerate(axes):
        row, column = divmod(place, len(columns))
        field = fields[column][row]
        show_map(axis, _map(field, at), picture, at)
        if row == 0:
            axis.set_title(_step_title(records, columns[column]))
        if column == 0:
            height, across = field.grid
            axis.set_ylabel(f"{names[row]}\n{height}×{across}")
    key_to_maps(plot, axes)
    return plot.trimmed()


@style()
def head_grid(
    capture: Capture | Records,
    layer: str,
    image: ImageLike | None = None,
    *,
    at: Place | None = None,
    item: Item = None,
    step: int | None = None,
    width: float = PAGE,
) -> Plot:
    """Maps of every head of one self- or joint-attention layer.

    Each map goes from 0 to its own 99th percentile.

    Args:
        capture: what was kept by ``PerHead``.
        layer: the layer's name.
        image: the picture to lay them over; alone by default.
        at: whose map is shown, row and column as shares of the picture; by default the mean over
            all queries.
        item: the prompt's branch by default, ``"uncond"``, or a row's number; see `Records.at`.
        step: number of the step, where each was kept and there are several.
        width: inches.

    Raises:
        AttnProbeError: heads were not kept, the layer is of words or was not captured.
    """
    records = _records(capture)
    maps = _heads(records, layer, item)
    at_step = 0 if step is None and len(maps.steps) == 1 else _place(maps.steps, step)
    picture = None if image is None else as_image(image)
    plot = Plot(width)
    axes = panels(plot, len(maps.rows), aspect_of(picture, maps.grid))
    chosen = records.keep.heads if isinstance(records.keep, PerHead) else ()
    for number, (axis, rows) in enumerate(zip(axes, maps.rows[:, at_step], strict=True)):
        show_map(axis, _map(AttentionField(rows, maps.grid), at), picture, at)
        axis.set_title(f"head {chosen[number] if chosen else number}")
    key_to_maps(plot, axes)
    return plot.trimmed()


def _records(capture: Capture | Records) -> Records:
    return capture.records if isinstance(capture, Capture) else capture


def _map(field: AttentionField, at: Place | None) -> np.ndarray:
    values = field.rows.mean(0) if at is None else field.map_at(*place_in(at, field.grid))
    return values.view(field.grid).cpu().numpy()


def _steps(records: Records, asked: Sequence[int] | None, most: int) -> list[int | None]:
    """The steps to show: those asked for, or as many as fit, spread evenly."""
    if records.over_steps == "mean" and asked is None:
        return [None]
    if asked is not None:
        return [*asked]
    kept = [passes[0].steps[0] for passes in next(iter(records.records.values())).steps]
    places = np.linspace(0, len(kept) - 1, min(most, len(kept))).round().astype(int)
    return [kept[place] for place in places]


def _step_title(records: Records, step: int | None) -> str:
    passes = next(iter(records.records.values())).steps
    if step is None:
        count = len(passes[0][0].steps)
        return f"mean of {count} steps" if count > 1 else ""
    (kept,) = [kept for kept, *_ in passes if kept.steps[0] == step]
    time = kept.timesteps[0]
    return f"step {step}" + (f"\nt = {time:.0f}" if time is not None else "")


def short_names(names: list[str]) -> list[str]:
    """Layers' names as a label has room for: ``up_blocks.0.attentions.1…attn1`` is ``up 0.1``."""
    words = [re.sub("_?(transformer)?_blocks?$", "", name.partition(".")[0]) for name in names]
    numbers = [re.findall(r"\.(\d+)", name) for name in names]
    if all(each[2:] in ([], ["0"]) for each in numbers):  # one transformer layer a block
        numbers = [each[:2] for each in numbers]
    short = [f"{w or 'block'} {'.'.join(n)}" for w, n in zip(words, numbers, strict=True)]
    return short if len({*short}) == len(names) else names


def _heads(records: Records, layer: str, item: Item) -> Maps:
    """A layer's maps by head and step."""
    if not isinstance(records.keep, PerHead):
        raise AttnProbeError(
            "head_grid: every head must have been kept, by capture(…, keep=ap.PerHead()). "
            f"Got {records.keep!r} instead."
        )
    known = {maps.name: maps for maps in maps_of(records, item)}
    if layer not in known:
        raise AttnProbeError(
            f"head_grid: no self- or joint-attention layer {layer!r} was captured"
            f"{did_you_mean(layer, [*known])}"
        )
    return known[layer]


def _place(steps: tuple[str, ...], step: int | None) -> int:
    if f"step {step}" not in steps:
        raise AttnProbeError(
            f"head_grid: step must be one of {', '.join(steps)}. Got {step} instead."
        )
    return steps.index(f"step {step}")
