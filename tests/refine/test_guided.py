import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attnprobe import AttnProbeError, Segmentation
from attnprobe.refine import Guided, guided
from tests.refine.fields import disc, picture_of, random_field


def filtered_plainly(image, mask, radius, epsilon):
    """He et al. 2013, equations 14 to 16, window by window, in float64."""
    height, width = mask.shape
    sums, number = np.zeros((height, width, 4)), np.zeros((height, width))
    windows = {}
    for y in range(height):
        for x in range(width):
            part = np.s_[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
            colours, values = image[part].reshape(-1, 3), mask[part].ravel()
            mean = colours.mean(0)
            covariance = (colours - mean).T @ (colours - mean) / len(colours)
            both = (colours * values[:, None]).mean(0) - mean * values.mean()
            slope = np.linalg.solve(covariance + epsilon * np.eye(3), both)
            windows[y, x] = part, np.append(slope, values.mean() - slope @ mean)
    for part, fit in windows.values():
        sums[part] += fit
        number[part] += 1
    mean = sums / number[..., None]
    return (mean[..., :3] * image).sum(-1) + mean[..., 3]


@pytest.mark.parametrize("size", [(9, 13), (4, 4), (1, 1), (1, 7)])
@pytest.mark.parametrize("epsilon", [1e-3, 0.1])
def test_equals_a_loop_over_windows(size, epsilon):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (*size, 3), np.uint8)
    segmentation = Segmentation(generator.integers(0, 3, size))
    refined = Guided(radius=2, epsilon=epsilon)(
        segmentation, random_field(size), image=Image.fromarray(pixels)
    )
    masks = [segmentation.labels == k for k in np.unique(segmentation.labels)]
    each = [filtered_plainly(pixels / 255, m.astype(float), 2, epsilon) for m in masks]
    margin = np.diff(np.sort(each, 0)[-2:], axis=0)[0] if len(each) > 1 else np.ones(size)
    agree = np.argmax(each, 0) == refined.labels
    assert agree[margin > 1e-4].all()
    assert (margin > 1e-4).mean() > 0.9


def test_coarse_segments_take_the_edge_of_the_picture():
    truth = disc()
    coarse = Segmentation(truth[4::8, 4::8])
    refined = Guided()(coarse, random_field((12, 12)), image=picture_of(truth))
    before = (coarse.resized(truth.shape).labels == truth).mean()
    after = (refined.labels == truth).mean()
    assert before < 0.97
    assert after > 0.995


def test_large_pictures_are_done_on_smaller_ones_in_bands(monkeypatch):
    truth = disc(640)
    coarse = Segmentation(truth[20::40, 20::40])
    sizes = []
    fits = guided._linear_fits
    monkeypatch.setattr(
        guided, "_linear_fits", lambda *given: sizes.append(given[0].shape) or fits(*given)
    )
    for floats in (1 << 26, 1 << 13):
        monkeypatch.setattr(guided, "_FLOATS", floats)
        refined = Guided()(coarse, random_field((16, 16)), image=picture_of(truth))
        assert (refined.labels == truth).mean() > 0.99
    assert sizes == [(3, 43, 43), (3, 32, 32)]


@given(size=st.tuples(st.integers(1, 30), st.integers(1, 30)), radius=st.floats(0.01, 50))
@settings(deadline=None, max_examples=40)
def test_a_plain_picture_and_any_size(size, radius):
    segmentation = Segmentation(np.array([[4, 4, 4], [4, 7, 7]]), names={7: "seven"})
    picture = Image.new("RGB", size[::-1], (90, 30, 200))
    refined = Guided(radius)(segmentation, random_field((2, 3)), image=picture)
    assert refined.size == size
    assert set(np.unique(refined.labels)) <= {0, 1}
    assert refined.names == {1: "seven"}


def test_one_segment_stays_one():
    segmentation = Segmentation(np.full((3, 3), 5), torch.ones(6, 3, 3))
    refined = Guided()(segmentation, random_field((3, 3)), image=picture_of(disc(30)))
    assert refined.count == 1


def test_it_needs_a_picture():
    with pytest.raises(AttnProbeError, match="Guided: needs the picture that is segmented"):
        Guided()(Segmentation(np.zeros((2, 2), int)), random_field((2, 2)))
