"""The explorer as a widget in notebooks, where segments are regrouped live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attnprobe.data.base import Drawing
from attnprobe.errors import AttnProbeError, RunError
from attnprobe.fields import AttentionField, Segmentation, WordMaps
from attnprobe.group.diffseg import DiffSeg
from attnprobe.hooks import Capture, Records
from attnprobe.hooks.records import Item
from attnprobe.pipeline import ImageLike, Pipeline, as_image
from attnprobe.registry import did_you_mean
from attnprobe.run.folder import RECIPE, RunFolder
from attnprobe.view.explorer import SCRIPT, STYLE, explorer_payload, labels_payload
from attnprobe.view.maps import Maps, maps_of, pooled_grid

try:
    import anywidget
    import traitlets
except ImportError:
    raise AttnProbeError(
        "the explorer in notebooks needs anywidget; install it with: pip install "
        "'attnprobe[notebook]'"
    ) from None

Regroup = Callable[[float], Segmentation]
"""The segments of a threshold."""

_BUDGET = 1 << 24
"""Bytes of maps that go to the browser, before they are deflated; more are pooled further."""


class Explorer(anywidget.AnyWidget):
    """A picture to point at, in JupyterLab, VS Code or Colab.

    Args:
        payload: what `explorer_payload` gives.
        regroup: the segments of a threshold; with it the slider regroups live.
    """

    _esm = SCRIPT
    _css = STYLE
    payload = traitlets.Dict().tag(sync=True)
    live = traitlets.Bool().tag(sync=True)

    def __init__(self, payload: dict[str, Any], regroup: Regroup | None = None) -> None:
        super().__init__(payload=payload, live=regroup is not None)
        self._regroup = regroup
        self.on_msg(self._answer)

    def _answer(self, _: Any, asked: dict[str, Any], __: Any) -> None:
        """Answer the slider: labels, or why there are none."""
        if self._regroup is None:
            return
        try:
            found: dict[str, Any] = {"labels": labels_payload(self._regroup(asked["threshold"]))}
        except AttnProbeError as error:
            found = {"error": str(error)}
        self.send({"id": asked["id"], **found})


def explore_field(
    field: AttentionField,
    image: ImageLike,
    group: DiffSeg | None = None,
    words: WordMaps | None = None,
) -> Explorer:
    """Explore a field over its picture, with DiffSeg's segments, regrouped live.

    Args:
        field: whose maps are shown.
        image: the picture that the field is of, all of it: path, PIL image or array.
        group: DiffSeg with the thresholds to begin with; its defaults are the published ones.
        words: maps of words to choose from.

    Raises:
        AttnProbeError: anywidget is missing.
        ImageError: the picture can't be read.
    """
    picture = as_image(image)
    size = (picture.height, picture.width)
    diffseg = group or DiffSeg()
    layers = [Maps.of_field(field)]

    def regroup(threshold: float) -> Segmentation:
        return diffseg.with_threshold(threshold)(field).resized(size)

    return Explorer(
        explorer_payload(
            picture,
            layers,
            diffseg(field).resized(size),
            words=words,
            side=_side(layers),
            threshold=diffseg.passes[0],
        ),
        regroup,
    )


def explore_capture(
    capture: Capture | Records,
    image: ImageLike,
    item: Item = None,
    words: WordMaps | None = None,
) -> Explorer:
    """Explore the layers of a capture: heads and steps apart where it kept them so.

    Maps are pooled as far as the browser's share of memory wants.

    Args:
        capture: of whole maps: `HeadMean`, `PerHead` or `Pooled`.
        image: the picture that the attention is of, all of it: path, PIL image or array.
        item: the prompt's branch by default, ``"uncond"``, or a row's number; see `Records.at`.
        words: maps of words to choose from.

    Raises:
        CaptureError: the capture has no whole maps of an image.
        AttnProbeError: anywidget is missing.
    """
    records = capture if isinstance(capture, Records) else capture.records
    layers = maps_of(records, item)
    return Explorer(explorer_payload(as_image(image), layers, words=words, side=_side(layers)))


def explore(run: str | Path, image: str | None = None) -> Explorer:
    """Explore an image of a run: aggregated attention, each layer, segments, regrouped live.

    The model is loaded and shown the image again. The slider is there if DiffSeg grouped.

    Args:
        run: the run's folder.
        image: its name in the run; the first by default.

    Raises:
        RunError: there is no run, or no such image in it.
        AttnProbeError: the recipe can't be built, or anywidget is missing.
    """
    from attnprobe.cache import FieldCache
    from attnprobe.recipe import load_recipe

    folder = RunFolder(Path(run))
    if not folder.is_run:
        raise RunError(f"{run}: no run")
    recipe = load_recipe(folder.path / RECIPE)
    samples = {sample.name: sample for sample in recipe.samples()}
    name = next(iter(samples)) if image is None else image
    if name not in samples:
        raise RunError(f"{run}: no image {name!r}{did_you_mean(name, [*samples])}")
    pipeline = replace(recipe.build(), cache=FieldCache())
    return _explore(pipeline, samples[name].read(), name)


def _explore(pipeline: Pipeline, image: Any, title: str) -> Explorer:
    picture, field = pipeline.look(image)
    fields = [replace(field, origin="aggregated")]
    if not isinstance(image, Drawing):  # what it was drawn by is over
        fields += pipeline.probe(pipeline.model, picture, pipeline.seed)
    layers = [Maps.of_field(each) for each in fields if isinstance(each, AttentionField)]
    diffseg = pipeline.group if isinstance(pipeline.group, DiffSeg) else None

    def regroup(threshold: float) -> Segmentation:
        assert diffseg is not None
        group = diffseg.with_threshold(threshold)
        return replace(pipeline, group=group).cut(field, picture)

    payload = explorer_payload(
        picture.crop(pipeline.view(picture).box),
        layers,
        pipeline.cut(field, picture),
        words=field if isinstance(field, WordMaps) else None,
        side=_side(layers),
        title=title,
        threshold=diffseg.passes[0] if diffseg else None,
    )
    return Explorer(payload, regroup if diffseg else None)


def _side(layers: Sequence[Maps]) -> int:
    """The largest side up to 64 at which all maps together are within the budget."""

    def size(side: int) -> int:
        cells = [pooled_grid(layer.grid, side) for layer in layers]
        planes = [len(layer.rows) * len(layer.steps) for layer in layers]
        return sum(n * (h * w) ** 2 for n, (h, w) in zip(planes, cells, strict=True))

    return next((side for side in range(64, 1, -1) if size(side) <= _BUDGET), 1)
