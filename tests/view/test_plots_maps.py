"""Plots that show maps: layers by steps, heads, words, proposals."""

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image

import attnprobe as ap
from attnprobe.errors import AttnProbeError
from attnprobe.fields import Segmentation, WordMaps
from attnprobe.pictures.palette import palette
from attnprobe.view import COLUMN, PAGE, attention_grid, head_grid, proposals, word_maps
from attnprobe.view.plots.attention import short_names
from tests.view.figures import at, at_each, check_legible

VIRIDIS = colormaps["viridis"]


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))


def watch(unet, keep=None, kind="self", size=(16, 16), batch=1, **options):
    """What three steps leave of a UNet's attention."""
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(batch, 5, 24, generator=generator)
    with ap.capture(unet, ap.Layers(kind=kind), keep, **options) as captured, torch.no_grad():
        for timestep in (900, 500, 100):
            unet(torch.randn(batch, 4, *size, generator=generator), timestep, text)
    return captured


def panels(plot):
    return [axis for axis in plot.axes if axis.images]


def shown(axis):
    return np.asarray(axis.images[-1].get_array())


def test_attention_grid_is_layers_by_steps(unet):
    captured = watch(unet, batch=2, over_steps="each")
    plot = attention_grid(captured, at=(0.3, 0.9), item=1)
    first = captured.fields(1, 0)
    assert len(panels(plot)) == 3 * len(first)
    for place, axis in enumerate(panels(plot)):
        field = captured.fields(1, place % 3)[place // 3]
        height, width = field.grid
        expected = field.map_at(int(0.3 * height), int(0.9 * width))
        assert np.array_equal(shown(axis), expected.numpy())
    assert [axis.get_title() for axis in panels(plot)[:3]] == [
        "step 0\nt = 900",
        "step 1\nt = 500",
        "step 2\nt = 100",
    ]
    rows = [axis.get_ylabel() for axis in panels(plot)[::3]]
    assert rows[0] == "down 0.0\n16×16"
    assert len({*rows}) == len(first)
    check_legible(plot)


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (
            ["down_blocks.0.attentions.1.transformer_blocks.0.attn1", "mid_block.attentions.0.x"],
            ["down 0.1", "mid 0"],
        ),
        (
            [f"up_blocks.0.attentions.1.transformer_blocks.{i}.attn1" for i in range(2)],
            ["up 0.1.0", "up 0.1.1"],
        ),
        (
            ["transformer_blocks.7.attn", "single_transformer_blocks.7.attn"],
            ["block 7", "single 7"],
        ),
        (["a.0.attn1", "a.0.attn2"],) * 2,
    ],
)
def test_layers_have_short_names_that_differ(names, short):
    assert short_names(names) == short


def test_without_a_place_it_is_the_mean_over_queries(unet):
    captured = watch(unet)
    plot = attention_grid(captured.records)
    for axis, field in zip(panels(plot), captured.fields(), strict=True):
        assert np.allclose(shown(axis), field.rows.mean(0).view(field.grid))
    assert panels(plot)[0].get_title() == "mean of 3 steps"


@pytest.mark.parametrize("width", [COLUMN, PAGE])
def test_steps_are_those_asked_for_or_as_many_as_fit(unet, picture, width):
    captured = watch(unet, over_steps="each")
    layers = len(captured.fields(step=0))
    plot = attention_grid(captured, picture, steps=(2, 0), width=width)
    assert [axis.get_title()[:6] for axis in panels(plot)[:2]] == ["step 2", "step 0"]
    assert plot.get_figwidth() == width
    check_legible(plot)
    narrow = attention_grid(captured, width=2.4)
    assert [axis.get_title()[:6] for axis in panels(narrow)[: 2 * layers][:2]] == [
        "step 0",
        "step 2",
    ]


def test_the_maps_lie_over_the_grey_picture_with_a_cross(unet, picture):
    plot = attention_grid(watch(unet), picture, at=(0.5, 0.25))
    axis = panels(plot)[0]
    grey, above = axis.images
    assert np.array_equal(np.asarray(grey.get_array()), np.asarray(picture.convert("L")))
    assert [*grey.get_extent()] == [*above.get_extent()] == [0, 80, 60, 0]
    red, green, blue = at(plot, axis, 20, 30).astype(int)
    assert red > green + 100
    assert red > blue + 100


@pytest.mark.parametrize("place", [(1.1, 0.5), (0.5, -0.1), (float("nan"), 0)])
def test_a_place_outside_is_told(unet, place):
    with pytest.raises(AttnProbeError, match="shares of the picture, from 0 to 1"):
        attention_grid(watch(unet), at=place)


def test_a_step_that_was_not_kept_is_told(unet):
    with pytest.raises(AttnProbeError, match="step must be one of 0, 1, 2"):
        attention_grid(watch(unet, over_steps="each"), steps=[5])
    with pytest.raises(AttnProbeError, match="averaged"):
        attention_grid(watch(unet), steps=[1])


def test_head_grid_is_every_head(unet):
    captured = watch(unet, ap.PerHead(), batch=2, over_steps="each")
    name = captured.layers[0]["name"]
    heads = captured.at(name, 1, 2)
    plot = head_grid(captured, name, at=(0, 0), item=1, step=2)
    for axis, rows in zip(panels(plot), heads, strict=True):
        assert np.allclose(shown(axis), rows[0].view(16, 16), atol=1e-7)
    titles = [axis.get_title() for axis in panels(plot)]
    assert titles == [f"head {number}" for number in range(len(heads))]
    check_legible(plot)


def test_head_grid_names_the_heads_that_were_chosen(unet):
    captured = watch(unet, ap.PerHead(heads=(1,)))
    plot = head_grid(captured, captured.layers[0]["name"])
    assert [axis.get_title() for axis in panels(plot)] == ["head 1"]


def test_what_head_grid_cannot_show_is_told(unet):
    captured = watch(unet)
    with pytest.raises(AttnProbeError, match=r"keep=ap\.PerHead\(\)"):
        head_grid(captured, captured.layers[0]["name"])
    captured = watch(unet, ap.PerHead(), kind=None, over_steps="each")
    self_layer, cross = (row["name"] for row in captured.layers[:2])
    with pytest.raises(AttnProbeError, match="no self- or joint-attention layer"):
        head_grid(captured, cross)
    with pytest.raises(AttnProbeError, match="step must be one of step 0, step 1, step 2"):
        head_grid(captured, self_layer)
    with pytest.raises(AttnProbeError, match="did you mean"):
        head_grid(captured, self_layer[:-1], step=0)


def test_a_word_s_map_goes_from_its_lowest_value_to_its_99th_percentile():
    values = torch.full((10, 10), 0.5)
    values[2, 5] = values[4, 4] = 1.0
    values[6, 1] = 0.2
    values[8, 8] = 0.6
    plot = word_maps(WordMaps(values[None], ("cat",)), width=2)
    (axis,) = panels(plot)
    cells = [(5, 2), (1, 6), (0, 0), (8, 8)]
    seen = at_each(plot, [(axis, x + 0.5, y + 0.5) for x, y in cells]).astype(int)
    shares = [1.0, 0.0, 0.3 / 0.8, 0.4 / 0.8]
    assert np.abs(seen - VIRIDIS(shares, bytes=True)[:, :3]).max() <= 2


def test_a_field_s_map_goes_from_0():
    rows = torch.full((16, 16), 1 / 20)
    rows[:, 0] = rows[:, 5] = 3 / 20
    plot = proposals(Segmentation(np.zeros((4, 4), int), rows[:1].view(1, 4, 4)), width=2)
    (axis,) = panels(plot)
    seen = at_each(plot, [(axis, 0.5, 0.5), (axis, 2.5, 2.5)]).astype(int)
    assert np.abs(seen - VIRIDIS([1.0, 1 / 3], bytes=True)[:, :3]).max() <= 2


@pytest.mark.parametrize("count", [1, 5, 12])
@pytest.mark.parametrize("width", [COLUMN, PAGE])
def test_word_maps(picture, count, width):
    maps = WordMaps(
        np.random.default_rng(0).random((count, 6, 8)),
        tuple(f"chequered {n}"[:10] + str(n) for n in range(count)),
    )
    plot = word_maps(maps, picture, width=width)
    assert [axis.get_title() for axis in panels(plot)] == [*maps.words]
    for axis, values in zip(panels(plot), maps.maps, strict=True):
        assert np.array_equal(shown(axis), values.numpy())
    check_legible(plot)


def test_a_word_nobody_looks_at_is_dark():
    plot = word_maps(WordMaps(np.zeros((1, 4, 4)), ("cat",)))
    assert np.array_equal(at(plot, panels(plot)[0], 2, 2), VIRIDIS(0.0, bytes=True)[:3])


@pytest.mark.parametrize("width", [COLUMN, PAGE])
def test_proposals_come_by_area_in_their_segments_colours(voronoi, picture, width):
    labels = voronoi(15, 20, 30)
    maps = torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 31).permute(2, 0, 1).float()
    plot = proposals(Segmentation(labels, maps, {3: "sky"}), picture, width=width)
    areas = np.bincount(labels.ravel())
    order = np.argsort(-areas, kind="stable")
    assert len(panels(plot)) == 30  # and not the one that wins nowhere
    for axis, number in zip(panels(plot), order, strict=True):
        assert np.array_equal(shown(axis), maps[number].numpy())
        share = f"{100 * areas[number] / areas.sum():.0f} %"
        assert axis.get_title() == f"{'sky' if number == 3 else number}: {share}"
    edges = at_each(plot, [(axis, 0, 30) for axis in panels(plot)]).astype(int)
    assert np.abs(edges - palette()[:30]).max() <= 2
    check_legible(plot)


def test_proposals_need_soft_maps():
    with pytest.raises(AttnProbeError, match="no soft maps"):
        proposals(Segmentation(np.zeros((2, 2), int)))
