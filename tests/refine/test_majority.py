import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attnprobe import AttnProbeError, Segmentation
from attnprobe.refine import Majority, segments
from tests.refine.fields import random_field
from tests.refine.test_segments import label_images


def mode_plainly(labels, window):
    radius, mode = window // 2, np.empty_like(labels)
    for (y, x), own in np.ndenumerate(labels):
        seen = labels[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        counts = np.bincount(seen.ravel(), minlength=labels.max() + 1)
        mode[y, x] = own if counts[own] == counts.max() else counts.argmax()
    return mode


@given(labels=label_images, window=st.sampled_from([3, 5, 7, 999]), band=st.integers(1, 100))
@settings(deadline=None, max_examples=100)
def test_equals_a_count_around_each_pixel(labels, window, band):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "_BAND", band)
        refined = Majority(window)(Segmentation(labels), random_field(labels.shape))
    assert np.array_equal(refined.labels, mode_plainly(labels, window))


def test_it_works_at_the_pictures_size_and_keeps_names():
    proposals = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    segmentation = Segmentation(proposals.argmax(0).numpy(), proposals, {1: "one"})
    refined = Majority(9)(segmentation, random_field((4, 4)), image=Image.new("RGB", (60, 45)))
    expected = mode_plainly(segmentation.resized((45, 60)).labels, 9)
    assert np.array_equal(refined.labels, expected)
    assert refined.proposals is None
    assert refined.names == {1: "one"}


@pytest.mark.parametrize("window", [1, 4, 1001])
def test_bad_window(window):
    with pytest.raises(AttnProbeError, match=r"Majority\.window: "):
        Majority(window)
