import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from attnprobe import Segmentation
from attnprobe.refine import segments
from attnprobe.refine.segments import bands, cell_counts, compacted, masks

label_images = arrays(
    np.int32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 4)
)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(labels=label_images)
def test_compacted_keeps_segments_and_names_what_is_there(labels):
    maps = torch.arange(10.0)[:, None, None].expand(10, 2, 2)
    names = {0: "zero", 2: "two", 6: "six", 9: "nine"}
    segmentation = Segmentation(2 * labels, maps, names)
    small = compacted(segmentation)
    values = np.unique(2 * labels)
    assert np.array_equal(values[small.labels], 2 * labels)
    assert small.proposals[:, 0, 0].tolist() == values.tolist()
    assert small.names == {i: names[v] for i, v in enumerate(values.tolist()) if v in names}


@given(labels=label_images, grid=sizes, band=st.integers(1, 40))
@settings(deadline=None)
def test_cell_counts_equal_a_loop(labels, grid, band):
    expected = np.zeros((labels.max() + 1, *grid), int)
    for (y, x), label in np.ndenumerate(labels):
        height, width = labels.shape
        row, column = int((y + 0.5) * grid[0] / height), int((x + 0.5) * grid[1] / width)
        expected[label, row, column] += 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "_BAND", band)
        counts = cell_counts(labels, grid)
    assert np.array_equal(counts, expected.reshape(len(expected), -1))


@given(size=sizes, margin=st.integers(0, 3), band=st.integers(1, 40))
def test_bands_cover_the_picture_once(size, margin, band):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "_BAND", band)
        found = list(bands(size, margin))
    assert [y for rows, _ in found for y in range(rows.start, rows.stop)] == [*range(size[0])]
    for rows, around in found:
        assert around.start == max(0, rows.start - margin)
        assert around.stop == min(size[0], rows.stop + margin)


@given(labels=label_images, size=sizes)
@settings(deadline=None)
def test_masks_sum_to_one(labels, size):
    found = masks(Segmentation(labels), size)
    assert found.shape == (labels.max() + 1, *size)
    torch.testing.assert_close(found.sum(0), torch.ones(size))
    assert found.min() >= 0


def test_masks_are_shares_of_a_cell_or_interpolated():
    labels = np.array([[0, 0, 1, 1], [0, 1, 1, 1]])
    shares = masks(Segmentation(labels), (1, 2))
    torch.testing.assert_close(shares, torch.tensor([[[0.75, 0]], [[0.25, 1]]]))
    wide = masks(Segmentation(np.array([[0, 1]])), (1, 4))
    torch.testing.assert_close(wide[1], torch.tensor([[0, 0.25, 0.75, 1]]))
