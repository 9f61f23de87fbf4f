"""The explorer as a widget in notebooks, where segments are regrouped live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attnprobe.data.base import Drawing
from attnprobe.errors import AttnProbeError, ImageError, RunError, did_you_mean
from attnprobe.extras import extra
from attnprobe.fields import AttentionField, Segmentation, WordMaps
from attnprobe.group.diffseg import DiffSeg
from attnprobe.hooks import Capture, Records
from attnprobe.hooks.rows import Item
from attnprobe.pipeline import ImageLike, Pipeline, as_image
from attnprobe.resample import pooled_grid
from attnprobe.run.folder import RECIPE, RunFolder
from attnprobe.view.explorer import SCRIPT, STYLE, explorer_payload, labels_payload
from attnprobe.view.layer_maps import Maps, maps_of

with extra("notebook", "the explorer in notebooks"):
    import anywidget
    import traitlets

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


def explore(
    shown: AttentionField | Capture | Records | str | Path,
    image: ImageLike | None = None,
    group: DiffSeg | None = None,
    words: WordMaps | None = None,
    item: Item = None,
) -> Explorer:
    """Explore attention over its picture: of a field, of a capture's layers, or of a run.

    Args:
        shown: a field or a capture of whole maps; or a run's folder, whose model is loaded and
            shown the image again.
        image: the picture that the attention is of, all of it: path, PIL image or array. Of a run
            the image's name; the first by default.
        group: of a field, DiffSeg with the thresholds to begin with; its defaults are the
            published ones. Of a run the slider is there if DiffSeg grouped.
        words: of a field or a capture, maps of words to choose from.
        item: of a capture, the prompt's branch by default, ``"uncond"``, or a row's number; see
            `Records.at`.

    Raises:
        RunError: there is no run, or no such image in it.
        CaptureError: the capture has no whole maps of an image.
        ImageError: the picture can't be read, or none is given.
        AttnProbeError: the run's recipe can't be built, or anywidget is missing.

    Examples:
        >>> field = ap.load_recipe("diffseg", ["probe.size=64"]).build().field("photo.jpg")
        >>> widget = ap.explore(field, "photo.jpg")  # in a notebook, shown as a cell's last value
        >>> widget.live
        True
    """
    if isinstance(shown, str | Path):
        if not (image is None or isinstance(image, str)):
            raise RunError(f"{shown}: image must be a name in the run. Got {image!r} instead.")
        return _explore_run(shown, image)
    if image is None:
        raise ImageError("explore: image must be the picture that the attention is of")
    if isinstance(shown, AttentionField):
        return _explore_field(shown, image, group, words)
    return _explore_capture(shown, image, item, words)


def _explore_field(
    field: AttentionField,
    image: ImageLike,
    group: DiffSeg | None,
    words: WordMaps | None,
) -> Explorer:
    """A field and the segments of DiffSeg, regrouped live."""
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


def _explore_capture(
    capture: Capture | Records,
    image: ImageLike,
    item: Item,
    words: WordMaps | None,
) -> Explorer:
    """The layers of a capture, pooled as far as the browser's share of memory wants."""
    records = capture if isinstance(capture, Records) else capture.records
    layers = maps_of(records, item)
    return Explorer(explorer_payload(as_image(image), layers, words=words, side=_side(layers)))


def _explore_run(run: str | Path, image: str | None) -> Explorer:
    """An image of a run: aggregated attention, each layer, segments, regrouped live."""
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
    return _explore_image(pipeline, samples[name].read(), name)


def _explore_image(pipeline: Pipeline, image: Any, title: str) -> Explorer:
    attention = pipeline.attention(image)
    picture, field = attention.picture, attention.field
    fields = [replace(field, origin="aggregated")]
    if not isinstance(image, Drawing):  # what it was drawn by is over
        fields += pipeline.probe(pipeline.model, picture, pipeline.seed)
    layers = [Maps.of_field(each) for each in fields if isinstance(each, AttentionField)]
    diffseg = pipeline.group if isinstance(pipeline.group, DiffSeg) else None

    def regroup(threshold: float) -> Segmentation:
        assert diffseg is not None
        group = diffseg.with_threshold(threshold)
        return replace(pipeline, group=group).cut(attention)

    payload = explorer_payload(
        attention.seen,
        layers,
        pipeline.cut(attention),
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
