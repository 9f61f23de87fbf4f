"""The explorer's data and HTML: point at a picture and see where that place attends.

Its face is ``explorer.js``, one ES module with ``explorer.css`` beside it; both are plain files
that need no build step and ask nothing of a network. The same module works as a widget in
notebooks, in a page on disk (`explorer_html`) and from a server (``mountExplorer``, with labels of
another threshold by `labels_payload`). What it shows is a payload, plain data that JSON can hold:

    title, size [H, W]      of the picture shown, whose pixels are in `image`
    image                   data URI
    layers                  [{name, tokens, grid, heads: [number], steps: [name], planes, scales}]
        tokens [H, W]       the layer's own grid; grid: what it was pooled to, N cells
        planes              for each head and step, steps innermost, a packed uint8 (N, N)
        scales              packed float32 (heads, steps, N), what 255 means in each row
    words                   {grid, words, planes: packed uint8 (K, N), scales: packed float32 (K,)}
                            or null
    labels                  what `labels_payload` gives, or null
    levels                  [{threshold, labels}], segments known beforehand, thresholds ascending
    threshold               that of `labels`, or null

A packed array is base64 of the deflated bytes, little-endian.
"""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from attnprobe.errors import AttnProbeError
from attnprobe.fields import Segmentation, refuse_nan
from attnprobe.pictures.palette import ranked_by_area, segment_colours
from attnprobe.resample import pooled_grid
from attnprobe.view.layer_maps import Maps

if TYPE_CHECKING:
    from attnprobe.fields import WordMaps

SCRIPT = Path(__file__).with_name("explorer.js")
STYLE = Path(__file__).with_name("explorer.css")

_PICTURE_SIDE = 512
"""Pixels of the longer side of the picture and of labels as shown."""


def explorer_payload(
    image: Image.Image,
    layers: Sequence[Maps],
    segmentation: Segmentation | None = None,
    levels: Sequence[tuple[float, np.ndarray]] = (),
    words: WordMaps | None = None,
    side: int = 32,
    title: str = "",
    threshold: float | None = None,
) -> dict[str, Any]:
    """All that the explorer shows of one picture, as data that JSON can hold.

    Args:
        image: the picture that the maps lie over, all of it.
        layers: whose attention can be looked at; the first is shown at first.
        segmentation: segments at any size, shown at first.
        levels: (threshold, labels (H, W)) for the slider, where nobody answers it live.
        words: maps of words to choose from.
        side: maps are pooled to at most side² tokens.
        title: what the picture is called.
        threshold: the one that `segmentation` was made with; where the slider stands at first.

    Raises:
        AttnProbeError: there is no layer, or `side` is less than 1.
    """
    if not layers or side < 1:
        got = "no layer" if not layers else f"side {side}"
        raise AttnProbeError(f"explorer: needs a layer and a side of 1 or more. Got {got} instead.")
    picture = image.convert("RGB")
    picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    ordered = sorted(levels, key=lambda level: level[0])
    return {
        "title": title,
        "size": [picture.height, picture.width],
        "image": _picture_uri(picture),
        "layers": [_layer(layer, side) for layer in layers],
        "words": None if words is None else _words(words),
        "labels": None if segmentation is None else labels_payload(segmentation),
        "levels": [
            {"threshold": float(level), "labels": labels_payload(Segmentation(labels))}
            for level, labels in ordered
        ],
        "threshold": threshold,
    }


def labels_payload(segmentation: Segmentation) -> dict[str, Any]:
    """Segments as the explorer takes them, the largest first and in the overlay's colours.

    ``size`` [H, W], at most 512 a side, taken nearest; ``ranks``: packed uint32 (H, W), 0 for the
    largest segment; and in this order ``colours`` [r, g, b], ``names`` (or else their numbers) and
    ``shares`` of the picture.
    """
    height, width = segmentation.size
    scale = min(1.0, _PICTURE_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    labels, rank = ranked_by_area(segmentation.labels)
    numbers, first, areas = np.unique(segmentation.labels, return_index=True, return_counts=True)
    order = np.argsort(rank[labels.ravel()[first] + 1])
    names = segmentation.names or {}
    ranks = Segmentation(rank[labels + 1]).resized(size).labels
    return {
        "size": list(size),
        "ranks": _packed(ranks.astype("<u4")),
        "colours": segment_colours(np.arange(len(order))).tolist(),
        "names": [names.get(int(number), str(number)) for number in numbers[order]],
        "shares": [round(float(area) / labels.size, 4) for area in areas[order]],
    }


def explorer_assets() -> str:
    """The style and the module, once a page: it then mounts every explorer that comes into view."""
    style, script = STYLE.read_text("utf-8"), SCRIPT.read_text("utf-8")
    return f'<style>{style}</style>\n<script type="module">{script}\nmountAll();</script>\n'


def explorer_html(payload: dict[str, Any], assets: bool = True) -> str:
    """An explorer as a piece of HTML that needs no other file.

    Args:
        payload: what `explorer_payload` gives.
        assets: with the style and the module; a page needs them once (`explorer_assets`).
    """
    # In a script element nothing but "<" can begin what the HTML parser would see.
    data = json.dumps(payload, separators=(",", ":")).replace("<", "\\u003c")
    fragment = (
        '<div class="attnprobe-explorer" data-explorer>'
        f'<script type="application/json">{data}</script></div>\n'
    )
    return fragment + explorer_assets() if assets else fragment


def _picture_uri(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _layer(layer: Maps, side: int) -> dict[str, Any]:
    shown = layer.pooled(pooled_grid(layer.grid, side))
    levels, scales = _quantised(shown.rows.float().cpu().numpy())
    return {
        "name": layer.name,
        "tokens": list(layer.grid),
        "grid": list(shown.grid),
        "heads": list(layer.heads),
        "steps": list(layer.steps),
        "planes": [_packed(plane) for head in levels for plane in head],
        "scales": _packed(scales),
    }


def _words(words: WordMaps) -> dict[str, Any]:
    refuse_nan([words], "the explorer")
    levels, scales = _quantised(words.maps.flatten(1).cpu().numpy())
    return {
        "grid": list(words.grid),
        "words": list(words.words),
        "planes": _packed(levels),
        "scales": _packed(scales),
    }


def _quantised(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (…, N) as uint8, and what 255 means in each (…): its largest entry."""
    scales = rows.max(-1).astype("<f4")
    safe = np.where(scales > 0, scales, 1)[..., None]
    return np.rint(rows * (255 / safe)).astype(np.uint8), scales


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes())).decode()
