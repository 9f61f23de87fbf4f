from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attnprobe import AttnProbeError, Segmentation
from attnprobe.refine import Pamr
from tests.refine.fields import disc, picture_of, random_field


def refined_plainly(image, masks, iterations, dilations):
    """The authors' program pixel by pixel, in float64: beyond the edge, the edge's pixel."""
    height, width = image.shape[:2]

    def seen(values, y, x, centre):
        steps = [(d * i, d * j) for d in dilations for i, j in product((-1, 0, 1), repeat=2)]
        return np.array(
            [
                values[min(max(y + i, 0), height - 1), min(max(x + j, 0), width - 1)]
                for i, j in steps
                if centre or (i, j) != (0, 0)
            ]
        )

    weights = {}
    for y, x in np.ndindex(height, width):
        deviation = seen(image, y, x, centre=True).std(0, ddof=1)
        unlike = np.abs(seen(image, y, x, centre=False) - image[y, x]) / (1e-8 + 0.1 * deviation)
        weight = np.exp(-unlike.mean(1))
        weights[y, x] = weight / weight.sum()
    for _ in range(iterations):
        masks = np.array(
            [
                [weights[y, x] @ seen(masks, y, x, centre=False) for x in range(width)]
                for y in range(height)
            ]
        )
    return masks


@pytest.mark.parametrize("size", [(5, 7), (1, 6), (1, 1)])
@pytest.mark.parametrize("dilations", [(1,), (1, 2, 9)])
def test_equals_the_program_pixel_by_pixel(size, dilations):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (*size, 3), np.uint8)
    segmentation = Segmentation(generator.integers(0, 3, size))
    refined = Pamr(iterations=3, dilations=dilations)(
        segmentation, random_field(size), image=Image.fromarray(pixels)
    )
    masks = np.eye(3)[segmentation.labels][..., np.unique(segmentation.labels)]
    expected = refined_plainly(pixels / 255, masks, 3, dilations)
    np.testing.assert_allclose(refined.proposals.permute(1, 2, 0), expected, atol=1e-5)


def test_coarse_segments_take_the_edge_of_the_picture():
    truth = disc()
    coarse = Segmentation(truth[4::8, 4::8], names={1: "disc"})
    refined = Pamr()(coarse, random_field((12, 12)), image=picture_of(truth))
    assert (coarse.resized(truth.shape).labels == truth).mean() < 0.97
    assert (refined.labels == truth).mean() > 0.985
    assert refined.names == {1: "disc"}


@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)), side=st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_masks_stay_probabilities_on_at_most_side_squared_pixels(size, side):
    segmentation = Segmentation(np.array([[4, 4, 4], [4, 7, 7]]))
    refined = Pamr(2, (1, 3), side)(
        segmentation, random_field((2, 3)), image=Image.new("RGB", size[::-1], (90, 30, 200))
    )
    torch.testing.assert_close(refined.proposals.sum(0), torch.ones(refined.size))
    assert np.prod(refined.size) <= min(np.prod(size), 1.5 * side**2 + side)
    assert refined.resized(size).size == size


def test_it_needs_a_picture():
    with pytest.raises(AttnProbeError, match="Pamr: needs the picture that is segmented"):
        Pamr()(Segmentation(np.zeros((2, 2), int)), random_field((2, 2)))
