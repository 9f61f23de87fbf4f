import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from attnprobe.errors import AttnProbeError, ImageError
from attnprobe.fields import Segmentation
from attnprobe.pictures.labels import load_labels, save_labels


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([1, 3, 15, 254, 255, 256, 65534]).flatmap(
        lambda most: arrays(
            np.int32, array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, most)
        )
    )
)
def test_numbers_come_back_exactly(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("labels") / "a.png"
    save_labels(labels, path)
    again = load_labels(path)
    assert again.dtype == np.int32
    assert np.array_equal(again, labels)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.mode == ("L" if labels.max() < 255 else "I;16")
        assert np.array_equal(np.asarray(image), labels)


@pytest.mark.parametrize("most", [5, 254, 300])
def test_other_programs_read_numbers(tmp_path, most):
    from matplotlib.image import imread as matplotlib_s
    from skimage.io import imread as skimage_s

    labels = np.random.default_rng(0).integers(0, most + 1, (12, 9))
    labels[0, 0] = most
    save_labels(labels, tmp_path / "a.png")
    assert np.array_equal(skimage_s(tmp_path / "a.png"), labels)
    read = matplotlib_s(tmp_path / "a.png")  # of PNG files the share of the largest number
    assert np.array_equal(np.round(read * (255 if most < 255 else 65535)), labels)
    with Image.open(tmp_path / "a.png") as image:
        assert image.getbands() == (image.mode[0],)
        assert image.palette is None


def test_an_array_comes_back_exactly(tmp_path):
    labels = np.array([[0, 70_000], [3, 3]])
    Segmentation(labels).save(tmp_path / "a.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), labels)
    assert np.load(tmp_path / "a.npy").dtype == np.int32


def test_a_segmentation_saves_its_labels(tmp_path):
    Segmentation(np.array([[0, 700], [3, 3]])).save(str(tmp_path / "a.PNG"))
    assert load_labels(tmp_path / "a.PNG").tolist() == [[0, 700], [3, 3]]


@pytest.mark.parametrize("values", [[[False, True]], [[0, 200]]])
def test_masks_of_others_are_read(tmp_path, values):
    pixels = np.array(values)
    Image.fromarray(pixels if pixels.dtype == bool else pixels.astype(np.uint8)).save(
        tmp_path / "a.png"
    )
    assert load_labels(tmp_path / "a.png").tolist() == pixels.astype(int).tolist()


@pytest.mark.parametrize("number", [65536, 65535, -1])
def test_numbers_out_of_range(tmp_path, number):
    with pytest.raises(AttnProbeError, match=rf"from 0 to 65534. Got .*{number}") as caught:
        save_labels(np.array([[0, number]]), tmp_path / "a.png")
    assert str(tmp_path / "a.png") in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("labels", [np.zeros((2, 2)), np.zeros(4, int), np.zeros((0, 2), int)])
def test_what_are_no_labels(tmp_path, labels):
    with pytest.raises(AttnProbeError, match=r"whole numbers of shape \(H, W\). Got"):
        save_labels(labels, tmp_path / "a.png")


def test_another_suffix(tmp_path):
    with pytest.raises(AttnProbeError, match=r"a\.jpg: labels are written as \.png or \.npy"):
        save_labels(np.zeros((2, 2), int), tmp_path / "a.jpg")


def test_a_missing_folder(tmp_path):
    with pytest.raises(AttnProbeError, match=r"a\.png: can't be written: No such file"):
        save_labels(np.zeros((2, 2), int), tmp_path / "missing" / "a.png")


def test_pictures_that_hold_no_labels(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png: labels must be .* Got mode RGB"):
        load_labels(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"b\.png: not a picture"):
        load_labels(tmp_path / "b.png")
