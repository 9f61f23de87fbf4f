"""Windows over an enlarged picture, and their maps joined: against sums written out."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from attnprobe import AttentionField, AttnProbeError, Pipeline, Probe
from attnprobe.aggregate import Cross, Multiscale, SelfCross
from attnprobe.data.base import Drawing
from attnprobe.data.scenes import make_scene
from attnprobe.fields import WordMaps
from attnprobe.group import DiffSeg, Threshold
from attnprobe.models.fit import to_pixels
from attnprobe.resample import resample
from attnprobe.tiles import Window, count_windows, join, windows

PROMPT = "a red striped star on a blue checked ground"


def field(grid, seed, features=None) -> AttentionField:
    n = grid[0] * grid[1]
    rows = torch.rand(n, n, generator=torch.Generator().manual_seed(seed)) ** 4 + 1e-4
    return AttentionField(rows / rows.sum(1, keepdim=True), grid, "layer", features)


@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.integers(1, 8),
    st.sampled_from([8, 16, 64]),
)
def test_windows_cover_the_picture_evenly(sides, tiles, multiple):
    size = (sides[0] * multiple, sides[1] * multiple)
    found = windows(size, tiles, multiple)
    assert len(found) == count_windows(tiles)
    for side, starts in zip(
        size, (sorted({w.top for w in found}), sorted({w.left for w in found})), strict=True
    ):
        assert starts[0] == 0
        assert starts[-1] + side == tiles * side
        assert all(start % multiple == 0 for start in starts)
        gaps = np.diff(starts)
        if tiles > 1:
            assert gaps.max() <= 0.75 * side + multiple
            assert gaps.max() - gaps.min() <= multiple


def by_hand(whole, parts, at, size):
    """The formula of `join`, entry by entry, in float64."""
    n = size[0] * size[1]
    base = resample(whole.rows.double(), whole.grid, size).view(*size, *size).numpy()
    rows = np.zeros((*size, *size))
    for y in range(size[0]):
        for x in range(size[1]):
            total = 0.0
            for part, window in zip(parts, at, strict=True):
                (h, w), i, j = window.size, y - window.top, x - window.left
                if not (0 <= i < h and 0 <= j < w):
                    continue
                weight = min(i + 1, h - i) * min(j + 1, w - j)
                row = base[y, x].copy()
                inside = (slice(window.top, window.top + h), slice(window.left, window.left + w))
                row[inside] = row[inside].sum() * part.rows[i * w + j].view(h, w).double().numpy()
                rows[y, x] += weight * row
                total += weight
            rows[y, x] /= total
    return rows.reshape(n, n)


@pytest.mark.parametrize(("grid", "tiles"), [((4, 6), 2), ((6, 4), 3), ((5, 5), 1)])
def test_joined_maps_are_those_of_the_formula(grid, tiles):
    places = windows((grid[0] * 8, grid[1] * 8), tiles, 8)
    whole = field(grid, 0)
    parts = [field(grid, 1 + i) for i in range(len(places))]
    found = join(whole, parts, places)
    at = [Window(place.top // 8, place.left // 8, grid) for place in places]
    size = (tiles * grid[0], tiles * grid[1])
    assert (found.grid, found.origin) == (size, "layer")
    np.testing.assert_allclose(found.rows, by_hand(whole, parts, at, size), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.rows.sum(1), torch.ones(size[0] * size[1]))


def test_windows_that_say_what_the_whole_says_change_nothing():
    """Of an attention that looks everywhere alike, joined maps are that attention."""
    grid, n = (4, 4), 16
    even = AttentionField(torch.full((n, n), 1 / n), grid)
    places = windows((32, 32), 3, 8)
    found = join(even, [even] * len(places), places)
    torch.testing.assert_close(found.rows, torch.full((144, 144), 1 / 144))


def test_words_maps_and_features_are_means_over_the_windows():
    grid, places = (4, 4), windows((32, 32), 2, 8)
    draw = torch.Generator().manual_seed(0)
    maps = [torch.rand(2, 4, 4, generator=draw) for _ in places]
    said = ("sky", "sea")
    whole = WordMaps(torch.zeros(2, 4, 4), said)
    found = join(whole, [WordMaps(each, said) for each in maps], places)
    weighed, total = np.zeros((2, 8, 8)), np.zeros((8, 8))
    tent = np.minimum(np.arange(4) + 1, 4 - np.arange(4))
    for each, place in zip(maps, places, strict=True):
        y, x = place.top // 8, place.left // 8
        weighed[:, y : y + 4, x : x + 4] += each.numpy() * np.outer(tent, tent)
        total[y : y + 4, x : x + 4] += np.outer(tent, tent)
    np.testing.assert_allclose(found.maps, weighed / total, rtol=1e-5)
    assert found.words == said
    beside = [field(grid, i, each.movedim(0, 2)) for i, each in enumerate(maps)]
    with_features = join(field(grid, 9, torch.zeros(4, 4, 2)), beside, places)
    np.testing.assert_allclose(with_features.features.movedim(2, 0), weighed / total, rtol=1e-5)


def test_tokens_that_windows_cut_through_are_refused():
    with pytest.raises(AttnProbeError, match=r"probe.tiles: tokens of a 3×3 grid don't end where"):
        join(field((3, 3), 0), [field((3, 3), i) for i in range(9)], windows((32, 32), 2, 8))


def picture() -> Image.Image:
    return Image.fromarray(make_scene("test", 0).image).resize((300, 200))


def test_a_probe_with_tiles_joins_what_passes_by_hand_give(tiny):
    probe = Probe(size=64, tiles=2, timesteps=(20, 60))
    one = Probe(size=64, timesteps=(20, 60))
    found = probe(tiny, picture())
    view = probe.fitted(tiny, picture())
    assert view.size == (48, 80)
    pixels = to_pixels(picture(), type(view)(view.box, (96, 160)), "resize")
    places = windows(view.size, 2, tiny.multiple)
    whole = one(tiny, picture())
    parts = []
    for place in places:
        part = place.of(pixels)[0].movedim(0, 2)
        image = Image.fromarray(((part + 1) * 127.5).round().clamp(0, 255).byte().numpy())
        parts.append(one(tiny, image))
    for i, layer in enumerate(found):
        expected = join(whole[i], [part[i] for part in parts], places)
        assert layer.grid == expected.grid == (2 * whole[i].grid[0], 2 * whole[i].grid[1])
        # a window's pixels went through 8 bits by hand
        torch.testing.assert_close(layer.rows, expected.rows, atol=2e-3, rtol=0.2)


def test_several_sizes_are_a_field_a_layer_and_size(tiny):
    found = Probe(size=(64, 96))(tiny, picture())
    each = [Probe(size=64)(tiny, picture()), Probe(size=96)(tiny, picture())]
    assert len(found) == 2 * len(each[0])
    for layer, alone, side in zip(found, each[0] + each[1], [64] * 10 + [96] * 10, strict=True):
        assert layer.origin == f"{alone.origin} at {side}"
        assert torch.equal(layer.rows, alone.rows)


def test_words_are_joined_beside_maps(tiny):
    probe = Probe(size=64, tiles=2, prompt=PROMPT, words=("star",))
    segmentation = Pipeline(tiny, probe, SelfCross(), Threshold(word="star")).segment(picture())
    assert segmentation.labels.shape == (200, 300)
    words = Pipeline(tiny, probe, Cross(), Threshold(word="star")).field(picture())
    assert words.grid == (24, 40)


def test_a_drawing_is_never_tiled(tiny):
    made = Pipeline(tiny, Probe(tiles=2), Multiscale(), DiffSeg())
    with pytest.raises(AttnProbeError, match=r"probe.tiles: what the model itself draws"):
        made.attention(Drawing("a star", steps=1, guidance=1.0, seed=0))


def test_passes_are_told(tiny):
    probe = Probe(size=(64, 96), tiles=2, timesteps=(20, 60))
    seen = []
    handle = tiny.denoiser.register_forward_hook(lambda module, given, out: seen.append(1))
    probe(tiny, picture())
    handle.remove()
    assert len(seen) == probe.passes == 2 * 10 * 2


def test_where_words_lie_is_found_once_a_picture(tiny, monkeypatch):
    found, places = [], type(tiny).places
    monkeypatch.setattr(type(tiny), "places", lambda *given: found.append(1) or places(*given))
    Probe(size=(64, 96), tiles=2, prompt=PROMPT)(tiny, picture(), needs={"maps", "words"})
    assert found == [1]
