import numpy as np
import pytest
import torch
from matplotlib import colormaps

from attnprobe.fields import AttentionField, Segmentation
from attnprobe.pictures.palette import palette
from attnprobe.view import COLUMN, PAGE, affinity
from tests.view.figures import at, at_each, check_legible

VIRIDIS = colormaps["viridis"]


def blocks(labels):
    """A field whose tokens look at their own segment a hundred times as much as elsewhere."""
    labels = labels.ravel()
    rows = np.where(labels[:, None] == labels, 1.0, 0.01)
    return rows / rows.sum(1, keepdims=True)


@pytest.fixture
def labels(voronoi):
    return voronoi(12, 16, 4)


def test_a_fitting_grouping_has_bright_blocks_with_lines_between(labels):
    field = AttentionField(blocks(labels), labels.shape)
    plot = affinity(field, Segmentation(labels))
    axis = plot.axes[0]
    areas = np.sort(np.bincount(labels.ravel()))[::-1]
    edges = np.cumsum([0, *areas]) - 0.5
    middles = (edges[1:] + edges[:-1]) / 2
    colours = at_each(plot, [(axis, x, y) for y in middles for x in middles]).reshape(4, 4, 3)
    matrix = 0.5 * (field.rows + field.rows.T).numpy() * labels.size
    numbers = np.argsort(-np.bincount(labels.ravel()), kind="stable")
    for i, row in enumerate(numbers):
        for j, column in enumerate(numbers):
            value = matrix[np.ix_(labels.ravel() == row, labels.ravel() == column)].mean()
            share = np.log10(np.clip(value, 0.1, 10) / 0.1) / 2
            expected = np.array(VIRIDIS(share, bytes=True)[:3], int)
            assert np.abs(colours[i, j] - expected).max() <= 4
    pixel = labels.size / axis.bbox.width
    for edge in edges[1:-1]:
        near = edge + pixel * np.array([-1, 0, 1])  # the line is about a pixel wide
        assert (at_each(plot, [(axis, x, 5) for x in near]).min(1) > 200).any()
        assert (at_each(plot, [(axis, 5, y) for y in near]).min(1) > 200).any()
    check_legible(plot)


def test_the_strips_have_the_segments_colours_and_numbers(labels):
    plot = affinity(AttentionField(blocks(labels), labels.shape), Segmentation(labels * 7))
    axis = plot.axes[0]
    numbers = np.argsort(-np.bincount(labels.ravel()), kind="stable")
    assert [tick.get_text() for tick in axis.get_yticklabels()] == [str(7 * n) for n in numbers]
    beside, above = axis.child_axes
    middles = [tick for tick in axis.get_yticks()]
    assert np.array_equal(at_each(plot, [(beside, 0, y) for y in middles]), palette()[:4])
    assert np.array_equal(at_each(plot, [(above, x, 0) for x in middles]), palette()[:4])


def test_other_sizes_are_brought_to_the_field_s_grid(labels):
    field = AttentionField(blocks(labels), labels.shape)
    coarse = Segmentation(labels)
    fine = Segmentation(np.kron(labels, np.ones((5, 5), int)))
    assert affinity(field, coarse)._repr_png_() == affinity(field, fine)._repr_png_()


def test_attention_that_is_spread_evenly_is_in_the_middle_of_the_colours():
    field = AttentionField(torch.full((64, 64), 1 / 64), (8, 8))
    plot = affinity(field, Segmentation(np.zeros((8, 8), int)))
    colour = at(plot, plot.axes[0], 20, 20).astype(int)
    assert np.abs(colour - VIRIDIS(0.5, bytes=True)[:3]).max() <= 2


@pytest.mark.parametrize("width", [COLUMN, PAGE])
@pytest.mark.parametrize("count", [1, 30])
def test_it_is_legible(voronoi, width, count):
    labels = voronoi(24, 24, count)
    check_legible(
        affinity(AttentionField(blocks(labels), (24, 24)), Segmentation(labels), width=width)
    )


def test_rows_may_hold_zeros():
    field = AttentionField(torch.eye(16), (4, 4))
    plot = affinity(field, Segmentation(np.arange(16).reshape(4, 4)))
    drawn = at_each(plot, [(plot.axes[0], 2, 9), (plot.axes[0], 9, 9)])
    assert np.array_equal(drawn, [VIRIDIS(0.0, bytes=True)[:3], VIRIDIS(1.0, bytes=True)[:3]])
