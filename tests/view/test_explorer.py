"""The explorer's payload and HTML; what they do in a browser is in test_explorer_page.py."""

import base64
import io
import json
import re
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from attnprobe.aggregate.multiscale import Multiscale
from attnprobe.errors import AttnProbeError
from attnprobe.fields import Segmentation, WordMaps
from attnprobe.pictures.palette import segment_colours
from attnprobe.probe import Probe
from attnprobe.resample import pool
from attnprobe.view.explorer import (
    SCRIPT,
    STYLE,
    Maps,
    explorer_assets,
    explorer_html,
    explorer_payload,
    labels_payload,
)
from tests.view.test_layer_maps import random_rows

PHOTO = Image.fromarray(load_sample_image("china.jpg"))


def unpacked(text, dtype, *shape):
    data = zlib.decompress(base64.b64decode(text, validate=True))
    return np.frombuffer(data, dtype).reshape(shape)


def rows_of(layer):
    """(heads, steps, N, N) that a payload's layer means."""
    n = layer["grid"][0] * layer["grid"][1]
    heads, steps = len(layer["heads"]), len(layer["steps"])
    planes = np.stack([unpacked(plane, np.uint8, n, n) for plane in layer["planes"]])
    scales = unpacked(layer["scales"], "<f4", heads, steps, n, 1)
    return planes.reshape(heads, steps, n, n) * (scales / 255)


def test_maps_come_back_to_a_255th_of_each_row_s_highest():
    rows = random_rows(30, 2, 3) ** 4
    rows[0, 0, 3] = 0
    payload = explorer_payload(PHOTO, [Maps("a", (5, 6), rows, ("x", "y", "z"))])
    (layer,) = payload["layers"]
    assert layer["heads"] == [0, 1]
    assert layer["steps"] == ["x", "y", "z"]
    assert layer["tokens"] == layer["grid"] == [5, 6]
    highest = rows.amax(-1, keepdim=True).numpy()
    assert (np.abs(rows_of(layer) - rows.numpy()) <= highest / 255).all()


def test_maps_are_pooled_to_the_side():
    rows = random_rows(20 * 30)
    payload = explorer_payload(PHOTO, [Maps("a", (20, 30), rows[None, None])], side=8)
    (layer,) = payload["layers"]
    assert layer["tokens"] == [20, 30]
    assert layer["grid"] == [7, 9]
    expected = pool(rows, (20, 30), (7, 9)).numpy()
    assert np.abs(rows_of(layer)[0, 0] - expected).max() <= expected.max() / 255


def test_half_precision_maps():
    rows = random_rows(6).bfloat16()[None, None]
    (layer,) = explorer_payload(PHOTO, [Maps("a", (2, 3), rows)])["layers"]
    assert np.abs(rows_of(layer) - rows.float().numpy()).max() <= 1 / 255


def test_the_picture_is_512_at_most_and_small():
    payload = explorer_payload(PHOTO, [Maps("a", (1, 1), torch.ones(1, 1, 1, 1))], title="x")
    kind, data = payload["image"].split(",")
    assert kind == "data:image/jpeg;base64"
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    assert [shown.height, shown.width] == payload["size"] == [342, 512]
    expected = np.asarray(PHOTO.resize((512, 342)), float)
    assert np.abs(np.asarray(shown, float) - expected).mean() < 6
    assert len(payload["image"]) < 100_000
    assert payload["title"] == "x"
    assert PHOTO.size == (640, 427), "the given picture is left as it was"


@pytest.mark.parametrize("size", [(20, 30), (300, 700)])
def test_labels_come_back(voronoi, size):
    labels = 3 * voronoi(*size, 9) + 2
    payload = labels_payload(Segmentation(labels, names={5: "sky"}))
    numbers, areas = np.unique(labels, return_counts=True)
    by_area = numbers[np.argsort(-areas, kind="stable")]
    assert payload["names"] == ["sky" if number == 5 else str(number) for number in by_area]
    assert payload["colours"] == segment_colours(np.arange(9)).tolist()
    assert np.array(payload["shares"]) == pytest.approx(
        np.sort(areas)[::-1] / labels.size, abs=1e-4
    )
    height, width = payload["size"]
    assert max(height, width) == min(512, max(size))
    y = ((np.arange(height) + 0.5) * size[0] / height).astype(int)
    x = ((np.arange(width) + 0.5) * size[1] / width).astype(int)
    ranks = unpacked(payload["ranks"], "<u4", height, width)
    assert np.array_equal(by_area[ranks], labels[np.ix_(y, x)])


def test_levels_go_up_and_words_come_back(voronoi):
    levels = [(0.9, voronoi(4, 4, 2)), (0.3, voronoi(40, 40, 7))]
    words = WordMaps(torch.rand(2, 3, 4), ("cat", "dog"))
    one = Maps("a", (1, 1), torch.ones(1, 1, 1, 1))
    payload = explorer_payload(PHOTO, [one], None, levels, words, threshold=0.3)
    assert [level["threshold"] for level in payload["levels"]] == [0.3, 0.9]
    assert [len(level["labels"]["names"]) for level in payload["levels"]] == [7, 2]
    assert payload["labels"] is None
    assert payload["threshold"] == 0.3
    assert payload["words"]["words"] == ["cat", "dog"]
    assert payload["words"]["grid"] == [3, 4]
    levels = unpacked(payload["words"]["planes"], np.uint8, 2, 12)
    scales = unpacked(payload["words"]["scales"], "<f4", 2, 1)
    assert np.abs(levels * (scales / 255) - words.maps.flatten(1).numpy()).max() <= 1 / 255


def test_a_real_field_of_32_by_32_is_below_a_megabyte(tiny):
    layers = Probe(size=128, fit="crop", timesteps=(60,))(tiny, PHOTO)
    field = Multiscale()(layers)
    assert field.grid == (32, 32)
    payload = explorer_payload(PHOTO, [Maps.of_field(field)])
    assert len(json.dumps(payload)) < 1_000_000


@pytest.mark.parametrize(
    ("layers", "side", "sentence"),
    [
        ([], 32, "Got no layer instead"),
        ([Maps("a", (1, 1), torch.ones(1, 1, 1, 1))], 0, "Got side 0 instead"),
    ],
)
def test_bad_arguments(layers, side, sentence):
    with pytest.raises(AttnProbeError, match=re.escape(sentence)):
        explorer_payload(PHOTO, layers, side=side)


class Scripts(HTMLParser):
    """Each element's name, and each script's type and text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.scripts = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "script":
            self.scripts.append([dict(attributes)["type"], ""])

    def handle_data(self, data):
        if self.scripts:
            self.scripts[-1][1] += data


def test_html_holds_the_payload_whatever_its_text():
    title = "</script><img src=x onerror=alert(1)><!--<script>"
    one = Maps(title, (1, 1), torch.ones(1, 1, 1, 1))
    payload = explorer_payload(PHOTO, [one], title=title)
    parsed = Scripts(explorer_html(payload, assets=False))
    assert parsed.tags == ["div", "script"]
    assert json.loads(parsed.scripts[0][1]) == payload
    parsed = Scripts(explorer_html(payload))
    assert parsed.tags == ["div", "script", "style", "script"]
    assert [kind for kind, _ in parsed.scripts] == ["application/json", "module"]


def test_the_module_is_small_and_names_no_other_place():
    sources = [path.read_text("utf-8") for path in (SCRIPT, STYLE)]
    assert len(explorer_assets()) < 60_000
    for source in sources:
        assert not re.search(r"https?:|//\w|url\(|@import|\bimport\b|innerHTML|</", source)
