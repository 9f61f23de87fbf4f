import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe import AttentionField, AttnProbeError, Segmentation


def random_field(grid: tuple[int, int], seed: int = 0) -> AttentionField:
    n = grid[0] * grid[1]
    logits = torch.randn(n, n, generator=torch.Generator().manual_seed(seed))
    return AttentionField(logits.softmax(1), grid)


def test_field_takes_numpy_and_other_floats():
    rows = np.full((6, 6), 1 / 6, np.float64)
    field = AttentionField(rows, (2, 3))
    assert field.rows.dtype == torch.float32
    assert field.grid == (2, 3)


def test_map_at_is_the_querys_row():
    field = random_field((3, 4))
    assert torch.equal(field.map_at(2, 1), field.rows[9].view(3, 4))


@pytest.mark.parametrize(
    ("rows", "grid", "message"),
    [
        (torch.ones(4, 5), (2, 2), r"rows must be \(H·W, H·W\) = \(4, 4\) for the grid 2×2"),
        (torch.ones(4, 4), (2, 2), "Row 0 sums to 4 instead"),
        (torch.full((4, 4), float("nan")), (2, 2), "Row 0 sums to nan instead"),
        (torch.zeros(0, 0), (0, 0), "grid must be"),
    ],
)
def test_field_refuses(rows, grid, message):
    with pytest.raises(AttnProbeError, match=message):
        AttentionField(rows, grid)


def test_map_at_outside_the_grid():
    with pytest.raises(AttnProbeError, match=r"the grid is 3×4.*Got \(3, 0\) instead"):
        random_field((3, 4)).map_at(3, 0)


def test_symmetric():
    affinity = random_field((2, 3)).symmetric()
    assert torch.equal(affinity, affinity.T)


def test_field_resized_sums_to_one_and_back_on_whole_ratios():
    field = random_field((4, 3))
    wide = field.resized((8, 6))
    assert wide.grid == (8, 6)
    torch.testing.assert_close(wide.rows.sum(1), torch.ones(48))
    assert torch.equal(wide.rows[0], wide.rows[1])  # queries repeat
    assert torch.equal(wide.rows[0], wide.rows[6])


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 6),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.integers(0, 2**16),
)
def test_resized_equals_interpolate_then_argmax(count, grid, size, seed):
    proposals = torch.rand(count, *grid, generator=torch.Generator().manual_seed(seed))
    segmentation = Segmentation(proposals.argmax(0).numpy(), proposals)
    wide = F.interpolate(proposals[None].double(), size=size, mode="bilinear")[0]
    labels = torch.from_numpy(segmentation.resized(size).labels).long()
    chosen = wide.gather(0, labels[None])[0]
    torch.testing.assert_close(chosen, wide.amax(0), rtol=0, atol=1e-6)


def test_resized_in_bands_equals_resized_whole(monkeypatch):
    proposals = torch.rand(5, 7, 9, generator=torch.Generator().manual_seed(0))
    segmentation = Segmentation(np.zeros((7, 9), int), proposals)
    whole = segmentation.resized((61, 83)).labels
    monkeypatch.setattr("attnprobe.fields._BAND_ELEMENTS", 1)
    assert np.array_equal(segmentation.resized((61, 83)).labels, whole)


def test_resized_first_proposal_wins_a_tie():
    proposals = torch.ones(3, 2, 2)
    assert Segmentation(np.zeros((2, 2), int), proposals).resized((5, 5)).count == 1
    assert Segmentation(np.zeros((2, 2), int), proposals).resized((5, 5)).labels.max() == 0


def test_resizing_twice_loses_nothing():
    proposals = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(1))
    segmentation = Segmentation(np.zeros((8, 8), int), proposals)
    once = segmentation.resized((50, 40)).labels
    assert np.array_equal(segmentation.resized((3, 3)).resized((50, 40)).labels, once)


def test_labels_alone_are_taken_nearest():
    labels = np.array([[0, 7], [70000, 3]])
    wide = Segmentation(labels).resized((4, 6)).labels
    assert np.array_equal(wide, labels.repeat(2, 0).repeat(3, 1))


@pytest.mark.parametrize("labels", [np.zeros((2, 2)), np.zeros(4, int), -np.ones((2, 2), int)])
def test_segmentation_refuses(labels):
    with pytest.raises(AttnProbeError, match="Segmentation: labels must be"):
        Segmentation(labels)


@given(st.integers(0, 3), st.floats(-1, -1e-30))
def test_negative_probabilities_are_refused(row, value):
    rows = torch.full((4, 4), 0.25)
    rows[row, :2] = torch.tensor([value, 0.5 - value])
    with pytest.raises(AttnProbeError, match=rf"from mine: .*Row {row} has -"):
        AttentionField(rows, (2, 2), origin="mine")


@pytest.mark.parametrize("kind", [np.uint32, np.int64, np.uint64])
def test_labels_beyond_32_bits_are_refused(kind):
    assert Segmentation(np.array([[0, 2**31 - 1]], kind)).labels.max() == 2**31 - 1
    for number in (2**31, 2**32 - 1, np.iinfo(kind).max):
        with pytest.raises(AttnProbeError, match=rf"at most 2,147,483,647.*Got {number}"):
            Segmentation(np.array([[0, number]], kind))


def test_a_segmentation_is_printed_as_a_line():
    labels = np.array([[0, 0, 3], [0, 7, 3]])
    assert repr(Segmentation(labels)) == "Segmentation: 3 segments, 2×3"
    assert repr(Segmentation(labels * 0)) == "Segmentation: 1 segment, 2×3"
    names = {3: "sky", 7: "sea"}
    assert repr(Segmentation(labels, names=names)) == "Segmentation: 3 segments, 2×3, sky, sea"
