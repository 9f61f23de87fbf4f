import base64
import io

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image

from attnprobe.fields import AttentionField
from attnprobe.notebook.field import field_html
from tests.notebook.test_segmentation import Parsed


def shown(field):
    html = Parsed(field_html(field))
    (image,) = html.tags["img"]
    data = image["src"].removeprefix("data:image/png;base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    return html, image, np.asarray(picture.convert("RGB"))


@pytest.fixture
def field():
    rows = torch.rand(9 * 12, 9 * 12, generator=torch.Generator().manual_seed(0))
    return AttentionField(rows / rows.sum(1, keepdim=True), (9, 12), origin="<b>up</b>")


def test_it_shows_nine_maps_with_their_tokens(field):
    _, image, pixels = shown(field)
    assert pixels.shape == (29, 38, 3)
    assert (image["width"], image["height"]) == ("266", "203")
    assert "pixelated" in image["style"]
    for i, y in enumerate((1, 4, 7)):
        for j, x in enumerate((2, 6, 10)):
            tile = pixels[10 * i : 10 * i + 9, 13 * j : 13 * j + 12]
            values = field.map_at(y, x).numpy()
            share = (values / np.quantile(values, 0.99)).clip(0, 1)
            expected = colormaps["viridis"](share, bytes=True)[..., :3].astype(int)
            expected[y, x] = (230, 0, 0)
            assert np.abs(tile - expected).max() <= 4  # 254 of 256 colours
    assert (pixels[9] == 255).all()
    assert (pixels[:, 12] == 255).all()


def test_its_name_is_escaped(field):
    html, image, _ = shown(field)
    said = "AttentionField from <b>up</b>, 9×12: 9 of 108 maps, each of the token in red"
    assert html.text == image["alt"] == said
    assert "b" not in html.tags


@pytest.mark.parametrize(("grid", "maps"), [((1, 1), 1), ((1, 5), 3), ((2, 1), 2), ((2, 3), 6)])
def test_small_grids_show_what_they_have(grid, maps):
    n = grid[0] * grid[1]
    html, _, pixels = shown(AttentionField(torch.eye(n), grid))
    assert f": {maps} of {n} maps" in html.text
    assert (pixels == (230, 0, 0)).all(2).sum() == maps


def test_it_is_small():
    rows = torch.rand(4096, 4096, generator=torch.Generator().manual_seed(0))
    field = AttentionField(rows / rows.sum(1, keepdim=True), (64, 64))
    assert len(field_html(field)) < 60_000
