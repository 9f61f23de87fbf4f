import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from attnprobe.fields import Segmentation
from attnprobe.pictures.overlay import overlay
from attnprobe.pictures.palette import palette


class Parsed(HTMLParser):
    """Tags with their attributes, and the text; every tag must be closed in its turn."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.open = {}, "", []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.setdefault(tag, []).append(dict(attributes))
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def shown(labels, names=None):
    html = Parsed(Segmentation(labels, names=names)._repr_html_())
    (image,) = html.tags["img"]
    data = image["src"].removeprefix("data:image/png;base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    return html, image, np.asarray(picture.convert("RGB"))


def test_small_labels_are_enlarged_by_the_browser(voronoi):
    labels = voronoi(16, 24, 5)
    html, image, pixels = shown(labels)
    assert pixels.shape == (16, 24, 3)
    assert (image["width"], image["height"]) == ("240", "160")
    assert "pixelated" in image["style"]
    assert html.text == image["alt"] == "5 segments, 16×24"


@pytest.mark.parametrize(
    ("size", "few"),
    [
        ((1000, 2000), (256, 512)),
        ((427, 640), (342, 512)),
        ((1, 3000), (1, 512)),
        ((512, 512),) * 2,
    ],
)
def test_large_labels_are_thinned_out(voronoi, size, few):
    labels = np.sort(np.random.default_rng(0).integers(0, 4, size))
    html, image, pixels = shown(labels)
    assert pixels.shape[:2] == few
    assert (int(image["height"]), int(image["width"])) == few
    assert html.text == f"4 segments, {size[0]}×{size[1]}"


def test_one_segment():
    html, image, _ = shown(np.zeros((1, 1), int))
    assert html.text == "1 segment, 1×1"
    assert (image["width"], image["height"]) == ("256", "256")


@pytest.mark.parametrize("stride", [1, 10**7])
def test_colours_are_the_overlay_s(voronoi, stride):
    labels = voronoi(20, 30, 6) * stride
    _, _, pixels = shown(labels)
    expected = np.asarray(overlay(Image.new("RGB", (30, 20)), labels, 1))
    coloured = (expected != 255).any(-1)
    assert np.array_equal(pixels[coloured], expected[coloured])


def test_more_segments_than_colours():
    labels = np.arange(400).reshape(20, 20)
    html, _, pixels = shown(labels)
    assert html.text.startswith("400 segments")
    assert np.array_equal(pixels, palette()[labels % 256])


@pytest.mark.parametrize("stride", [1, 10**7])
def test_names_stand_beside_their_colours_by_area_and_are_escaped(stride):
    labels = np.array([[0, 1, 1], [2, 2, 2], [4, 4, 4], [4, 4, 0]]) * stride
    names = {0: "sky", 1: "unused", 2: "<b>cat</b> & 'dog'", 3: "absent", 4: "sea"}
    html, _, pixels = shown(labels, {n * stride: name for n, name in names.items() if n != 1})
    assert html.text == "4 segments, 4×3■ sea■ <b>cat</b> & 'dog'■ sky"
    assert "b" not in html.tags
    squares = [tuple(bytes.fromhex(span["style"].partition("#")[2])) for span in html.tags["span"]]
    assert squares == [tuple(pixels[3, 0]), tuple(pixels[1, 0]), tuple(pixels[0, 0])]


def test_it_is_small(voronoi):
    assert len(Segmentation(voronoi(800, 800, 12))._repr_html_()) < 30_000
