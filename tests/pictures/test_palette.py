import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from attnprobe.errors import AttnProbeError
from attnprobe.pictures.palette import COLOURS, oklab, palette, ranked_by_area, segment_colours

# Machado, Oliveira and Fernandes 2009: total protanopia and deuteranopia, in linear RGB.
BLIND = {
    "none": np.eye(3),
    "protan": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deutan": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}


def seen(rgb, blindness):
    value = rgb / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = (linear @ BLIND[blindness].T).clip(0, 1)
    back = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return back * 255


def nearest(colours):
    lab = oklab(colours)
    distance = np.linalg.norm(lab[:, None] - lab, axis=-1)
    return distance[~np.eye(len(lab), dtype=bool)].min()


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (1, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (0.62796, 0.22486, 0.12585)),
        ((0, 0, 255), (0.45201, -0.03246, -0.31153)),
    ],
)
def test_oklab(rgb, lab):
    assert oklab(rgb) == pytest.approx(lab, abs=1e-4)


@pytest.mark.parametrize("blindness", BLIND)
def test_few_colours_are_told_apart_by_every_eye(blindness):
    assert nearest(seen(palette()[:7], blindness)) > 0.05
    assert nearest(seen(palette()[:3], blindness)) > 0.1


def test_many_colours_are_told_apart():
    assert nearest(palette()[:40]) > 0.1
    assert nearest(palette()) > 0.04
    assert palette().shape == (COLOURS, 3)


def test_the_palette_can_not_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        palette()[0] = 0


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.int32, array_shapes(min_dims=2, max_dims=2), elements=st.integers(-1, 5)),
    st.sampled_from([1, 1000, 2**28]),
)
def test_ranks_are_by_area(labels, stride):
    labels = np.where(labels < 0, -1, labels * stride)
    again, rank = ranked_by_area(labels)
    ranks = rank[again + 1]
    assert (ranks[labels < 0] == -1).all()
    areas = {n: (labels == n).sum() for n in set(labels[labels >= 0].tolist())}
    for place, number in enumerate(sorted(areas, key=lambda n: (-areas[n], n))):
        assert (ranks[labels == number] == place).all()


def test_small_types_do_not_overflow():
    labels, rank = ranked_by_area(np.array([[255, 255, 254]], np.uint8))
    assert rank[labels + 1].tolist() == [[0, 0, 1]]


@pytest.mark.parametrize(
    ("labels", "got"), [(np.zeros((2, 2)), "float64"), (np.array([[-2, 0]]), "-2")]
)
def test_what_are_no_labels(labels, got):
    with pytest.raises(AttnProbeError, match=f"whole numbers of 0 or more.* Got {got} instead"):
        ranked_by_area(labels)


def test_colours_repeat_and_void_is_black():
    colours = segment_colours(np.array([-1, 0, 255, 256, 257]))
    assert colours[0].tolist() == [0, 0, 0]
    assert np.array_equal(colours[1:], palette()[[0, 255, 0, 1]])
