import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from attnprobe.models import fit_image, to_pixels

side = st.integers(1, 5000)


@given(side, side, st.sampled_from([64, 128, 320, 512]), st.sampled_from([8, 16, 64]))
def test_resize_sees_everything_at_a_size_the_model_takes(height, width, size, multiple):
    view = fit_image((height, width), size, "resize", multiple)
    assert view.box == (0, 0, width, height)
    assert view.cut is None
    assert all(length % multiple == 0 and length > 0 for length in view.size)
    # About size² pixels: memory is bounded whatever the shape.
    assert view.size[0] * view.size[1] <= 2 * max(size, multiple) ** 2


@given(side, side)
def test_resize_keeps_the_aspect_to_half_a_step(height, width):
    view = fit_image((height, width), 512, "resize", 8)
    scale = 512 / (height * width) ** 0.5
    if min(height, width) * scale >= 8:
        assert abs(view.size[0] - height * scale) <= 4 + 1e-6
        assert abs(view.size[1] - width * scale) <= 4 + 1e-6


@given(side, side)
def test_crop_is_the_centre_square(height, width):
    view = fit_image((height, width), 512, "crop", 64)
    left, top, right, bottom = view.box
    assert right - left == bottom - top == min(height, width)
    assert (left, top) == ((width - right + left) // 2, (height - bottom + top) // 2)
    assert view.size == (512, 512)
    assert (view.cut is None) == (height == width)


def test_crop_says_what_was_cut():
    assert fit_image((427, 640), 512, "crop", 64).cut == (
        "fit: crop cut 106 px left and 107 px right of 640×427"
    )
    assert fit_image((3, 2), 512, "crop", 64).cut == "fit: crop cut 1 px bottom of 2×3"


def test_pixels_of_a_crop_are_resized_as_the_released_program_does():
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    view = fit_image((50, 70), 24, "crop", 8)
    square = torch.from_numpy(array[:, 10:60].copy()).permute(2, 0, 1)[None].float()
    expected = F.interpolate(square, size=(24, 24), mode="bilinear") / 127.5 - 1
    torch.testing.assert_close(to_pixels(Image.fromarray(array), view, "crop"), expected)


def test_large_pictures_are_resized_without_aliasing():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    view = fit_image((512, 512), 64, "resize", 8)
    assert to_pixels(Image.fromarray(stripes), view, "resize").abs().max() < 0.05


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_slivers(size):
    image = Image.new("RGB", (size[1], size[0]), "red")
    view = fit_image(size, 128, "resize", 16)
    pixels = to_pixels(image, view, "resize")
    assert pixels.shape == (1, 3, *view.size)
    torch.testing.assert_close(pixels[0, 0], torch.ones(view.size))
