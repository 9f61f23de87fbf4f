import tracemalloc

import numpy as np
import pytest
from PIL import Image

from attnprobe.errors import AttnProbeError
from attnprobe.pictures.overlay import overlay
from attnprobe.pictures.palette import palette


def grey(height, width, level=100):
    return Image.new("RGB", (width, height), (level,) * 3)


def on_lines(labels, width):
    """Pixel by pixel: is there another label half the line before and after?"""
    height_, width_ = labels.shape
    before, after = width // 2, width - width // 2
    mask = np.zeros(labels.shape, bool)
    for y, x in np.ndindex(labels.shape):
        up, down = labels[max(y - before, 0), x], labels[min(y + after, height_ - 1), x]
        left, right = labels[y, max(x - before, 0)], labels[y, min(x + after, width_ - 1)]
        mask[y, x] = up != down or left != right
    return mask


@pytest.mark.parametrize("alpha", [0, 0.55, 1])
def test_every_pixel(voronoi, alpha):
    labels = voronoi(40, 60, 9)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 60, 3), np.uint8)
    shown = np.asarray(overlay(Image.fromarray(pixels), labels, alpha))
    areas = np.bincount(labels.ravel())
    order = np.argsort(-areas, kind="stable")
    line = on_lines(labels, 1)
    for place, number in enumerate(order):
        there = (labels == number) & ~line
        mixed = (1 - alpha) * pixels[there] + alpha * palette()[place].astype(float)
        assert np.abs(shown[there] - mixed).max() <= 0.501
    assert (shown[line] == 255).all()
    assert 0 < line.mean() < 0.3


def test_numbers_do_not_matter(voronoi):
    labels = voronoi(50, 70, 12)
    assert len(set(np.bincount(labels.ravel()).tolist())) == 12
    expected = overlay(grey(50, 70), labels).tobytes()
    rng = np.random.default_rng(0)
    for numbers in (rng.permutation(12), rng.permutation(12) * 7 + 3, rng.permutation(12) * 10**8):
        assert overlay(grey(50, 70), numbers[labels]).tobytes() == expected


def test_more_than_thirty_segments_have_a_colour_each(voronoi):
    labels = voronoi(200, 300, 45)
    shown = np.asarray(overlay(grey(200, 300), labels))
    colours = {tuple(np.median(shown[labels == number], axis=0)) for number in np.unique(labels)}
    assert len(colours) == 45


def test_void_keeps_the_picture():
    labels = np.full((20, 20), -1)
    labels[:, 10:] = 3
    shown = np.asarray(overlay(grey(20, 20), labels, 1))
    assert (shown[:, :9] == 100).all()
    assert (shown[:, 9] == 255).all()
    assert (shown[:, 10:] == palette()[0]).all()


@pytest.mark.parametrize(
    ("side", "line"), [(32, 1), (128, 1), (512, 1), (1000, 2), (4000, 8), (10_000, 20)]
)
def test_the_line_grows_with_the_picture(side, line):
    labels = np.zeros((60, side), np.int32)
    labels[:, side // 2 :] = 1
    shown = np.asarray(overlay(grey(60, side), labels, 0.5))
    white = np.flatnonzero((shown == 255).all((0, 2)))
    assert len(white) == line
    assert abs(white.mean() - (side / 2 - 0.5)) <= 0.5
    tall = np.asarray(overlay(grey(side, 60), labels.T, 0.5))
    assert np.array_equal(tall, shown.swapaxes(0, 1))


def test_a_large_picture_is_as_its_parts_and_takes_little_memory(voronoi):
    labels = np.kron(voronoi(30, 40, 9), np.ones((100, 100), np.int32))
    image = grey(3000, 4000)
    tracemalloc.start()
    result = overlay(image, labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6  # The picture as floats would take 144.
    shown = np.asarray(result)
    inside = np.kron(np.ones((30, 40), bool), np.pad(np.ones((84, 84), bool), 8))
    rank = np.argsort(np.argsort(-np.bincount(labels.ravel()), kind="stable"))
    expected = (0.45 * 100 + 0.55 * palette().astype(float))[rank]
    assert all(
        np.abs(shown[inside & (labels == number)] - expected[number]).max() <= 0.51
        for number in range(9)
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 3)])
def test_thin_pictures(size):
    labels = np.arange(size[0] * size[1]).reshape(size) // 2
    shown = overlay(grey(*size), labels)
    assert (shown.mode, shown.size) == ("RGB", size[::-1])


def test_a_picture_of_another_mode():
    labels = np.zeros((4, 4), int)
    assert (
        overlay(grey(4, 4).convert("L"), labels).tobytes() == overlay(grey(4, 4), labels).tobytes()
    )


@pytest.mark.parametrize("shape", [(4, 5), (5, 4, 1), (20,), (0, 0)])
def test_labels_of_another_size(shape):
    with pytest.raises(AttnProbeError, match=r"height and width, \(5, 4\). Got \(") as caught:
        overlay(grey(5, 4), np.zeros(shape, int))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, np.nan])
def test_alpha_out_of_range(alpha):
    with pytest.raises(AttnProbeError, match=f"alpha must be from 0 to 1. Got {alpha} instead"):
        overlay(grey(2, 2), np.zeros((2, 2), int), alpha)
