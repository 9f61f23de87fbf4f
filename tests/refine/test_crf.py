import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attnprobe import AttnProbeError, Segmentation
from attnprobe.refine import DenseCrf
from attnprobe.refine.segments import reduced_size
from tests.refine.fields import disc, picture_of, random_field


def mean_field_plainly(crf, image, given, iterations):
    """Algorithm 1 of the paper with a Potts model, pair by pair, in float64."""
    height, width = image.shape[:2]
    places = [np.array(place) / max(height, width) for place in np.ndindex(height, width)]
    colours = image.reshape(-1, 3)
    n = len(places)
    kernels = np.zeros((2, n, n))
    for i in range(n):
        for j in range(n):
            if i != j:
                apart = ((places[i] - places[j]) ** 2).sum()
                unlike = ((colours[i] - colours[j]) ** 2).sum()
                kernels[0, i, j] = np.exp(-apart / 2 / crf.near**2 - unlike / 2 / crf.colour**2)
                kernels[1, i, j] = np.exp(-apart / 2 / crf.very_near**2)
    root = np.sqrt(kernels.sum(2))
    kernels /= root[:, :, None] * root[:, None]
    count = len(given)
    unary = -np.log(crf.certainty * given.reshape(count, n) + (1 - crf.certainty) / count)
    q = np.exp(-unary) / np.exp(-unary).sum(0)
    for _ in range(iterations):
        disagree = np.zeros_like(q)
        for weight, kernel in zip((crf.appearance, crf.smoothness), kernels, strict=True):
            message = q @ kernel.T
            disagree += weight * (message.sum(0) - message)  # Potts: all the other labels
        q = np.exp(-unary - disagree)
        q /= q.sum(0)
    return q.reshape(given.shape)


@pytest.mark.parametrize("size", [(5, 8), (9, 4), (1, 6)])
@pytest.mark.parametrize("iterations", [1, 4])
def test_equals_mean_field_pair_by_pair(size, iterations):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (*size, 3), np.uint8)
    labels = generator.integers(0, 3, size)
    crf = DenseCrf(iterations, appearance=2, smoothness=1, near=0.4, colour=0.3, very_near=0.2)
    refined = crf(Segmentation(labels), random_field(size), image=Image.fromarray(pixels))
    given_masks = np.stack([labels == k for k in range(3)]).astype(float)
    expected = mean_field_plainly(crf, pixels / 255, given_masks, iterations)
    np.testing.assert_allclose(refined.proposals, expected, atol=1e-5)


def test_coarse_segments_take_the_edge_of_the_picture():
    truth = disc()
    coarse = Segmentation(truth[4::8, 4::8], names={1: "disc"})
    refined = DenseCrf()(coarse, random_field((12, 12)), image=picture_of(truth))
    assert (coarse.resized(truth.shape).labels == truth).mean() < 0.97
    assert (refined.resized(truth.shape).labels == truth).mean() > 0.985
    assert refined.names == {1: "disc"}


@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)), side=st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_masks_stay_probabilities(size, side):
    segmentation = Segmentation(np.array([[4, 4, 4], [4, 7, 7]]))
    refined = DenseCrf(2, side=side)(
        segmentation, random_field((2, 3)), image=Image.new("RGB", size[::-1], (90, 30, 200))
    )
    torch.testing.assert_close(refined.proposals.sum(0), torch.ones(refined.size))
    assert refined.resized(size).size == size


@given(height=st.integers(1, 10**6), width=st.integers(1, 10**6), side=st.integers(1, 256))
def test_the_smaller_picture_has_about_side_squared_pixels(height, width, side):
    class Large:  # only the size of a picture
        pass

    Large.height, Large.width = height, width
    small = reduced_size(Large, side)
    assert small[0] >= 1
    assert small[1] >= 1
    assert small[0] * small[1] <= min(height * width, side**2)
    if side >= 16 and height * width >= side**2 and max(height, width) <= 4 * min(height, width):
        assert small[0] / small[1] == pytest.approx(height / width, rel=0.3)


def test_it_needs_a_picture():
    with pytest.raises(AttnProbeError, match="DenseCrf: needs the picture that is segmented"):
        DenseCrf()(Segmentation(np.zeros((2, 2), int)), random_field((2, 2)))
