import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from attnprobe import AttnProbeError, Segmentation
from attnprobe.refine import MinArea, segments
from attnprobe.refine.min_area import touching
from tests.refine.fields import block_field, random_field
from tests.refine.test_segments import label_images


def halves_with_a_dot() -> tuple[np.ndarray, np.ndarray]:
    """Two halves; the dot lies in the left one, but its tokens look where the right one's do."""
    truth = np.zeros((8, 8), int)
    truth[:, 4:] = 1
    labels = truth.copy()
    labels[3, 3] = 2
    truth[3, 3] = 1
    return labels, truth


def test_a_small_segment_merges_into_the_one_that_attends_alike():
    labels, truth = halves_with_a_dot()
    refined = MinArea(0.05)(Segmentation(labels), block_field(truth))
    assert np.array_equal(refined.labels, truth)


def test_only_into_one_that_it_touches():
    labels, truth = halves_with_a_dot()
    labels[3, 3], labels[3, 1] = 0, 2  # amid the left half, and still like the right one
    truth[3, 3], truth[3, 1] = 0, 1
    refined = MinArea(0.05)(Segmentation(labels), block_field(truth))
    assert np.array_equal(refined.labels, np.arange(8)[None].repeat(8, 0) // 4)


def merged_plainly(labels, field, share):
    """The rule with sets of pixels, everything computed anew at each step."""
    labels = labels.copy()
    rows = field.rows.double().numpy()
    while True:
        values, area = np.unique(labels, return_counts=True)
        small = [v for v, a in zip(values, area, strict=True) if a < share * labels.size]
        if not small or len(values) == 1:
            return labels
        value = min(small, key=lambda v: (labels == v).sum())
        grown = ndimage.binary_dilation(labels == value)
        near = [v for v in np.unique(labels[grown]) if v != value]
        means = {v: rows[(labels == v).ravel()].mean(0) for v in (value, *near)}
        x = means[value]
        distance = [((x - means[v]) * (np.log(x) - np.log(means[v]))).sum() for v in near]
        labels[labels == value] = near[int(np.argmin(distance))]


@given(labels=label_images, share=st.sampled_from([0.01, 0.1, 0.3, 0.6, 0.99]))
@settings(deadline=None, max_examples=100)
def test_equals_a_plain_loop(labels, share):
    field = random_field(labels.shape)
    plain = merged_plainly(labels, field, share)
    refined = MinArea(share)(Segmentation(labels), field).labels
    assert np.array_equal(np.unique(plain, return_inverse=True)[1].reshape(plain.shape), refined)


@pytest.mark.parametrize("seed", range(8))
def test_what_has_merged_counts_as_one(seed):
    """Many merges one after another, into segments of other sizes."""
    sizes = np.random.default_rng(seed).multinomial(80, [1 / 20] * 20)
    labels = np.arange(20).repeat(sizes).reshape(8, 10)
    field = random_field((8, 10), seed)
    plain = merged_plainly(labels, field, 0.2)
    refined = MinArea(0.2)(Segmentation(labels), field).labels
    assert np.array_equal(np.unique(plain, return_inverse=True)[1].reshape(plain.shape), refined)


def test_merged_proposals_win_where_each_won():
    proposals = torch.rand(12, 6, 7, generator=torch.Generator().manual_seed(0))
    labels = proposals.argmax(0).numpy()
    field = random_field((6, 7))
    refined = MinArea(0.12)(Segmentation(labels, proposals), field)
    assert refined.count < 12
    assert np.array_equal(refined.proposals.argmax(0), refined.labels)
    assert np.array_equal(refined.labels, MinArea(0.12)(Segmentation(labels), field).labels)


def test_it_works_on_labels_of_the_pictures_size():
    labels, truth = halves_with_a_dot()
    large = Segmentation(labels).resized((50, 31))
    refined = MinArea(0.05)(large, block_field(truth))
    assert np.array_equal(refined.labels, Segmentation(truth).resized((50, 31)).labels)


def test_names_go_with_what_stays():
    labels, truth = halves_with_a_dot()
    named = Segmentation(labels + 3, names={3: "left", 4: "right", 5: "dot"})
    assert MinArea(0.05)(named, block_field(truth)).names == {0: "left", 1: "right"}


def test_distances_that_are_infinite_or_nan_do_not_stop_it():
    labels, truth = halves_with_a_dot()
    refined = MinArea(0.05)(Segmentation(labels), block_field(truth, leak=0))
    assert refined.count == 2


@given(labels=label_images, band=st.integers(1, 100))
@settings(deadline=None)
def test_touching_is_dilation(labels, band):
    count = labels.max() + 1
    expected = np.zeros((count, count), bool)
    for value in np.unique(labels):
        expected[value, np.unique(labels[ndimage.binary_dilation(labels == value)])] = True
    np.fill_diagonal(expected, False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "_BAND", band)
        assert np.array_equal(touching(labels, count), expected)


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_bad_share(share):
    with pytest.raises(AttnProbeError, match=r"MinArea\.share: "):
        MinArea(share)
