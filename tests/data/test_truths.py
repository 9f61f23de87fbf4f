import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from attnprobe.data.table import plain_labels
from attnprobe.data.truths import name_list, read_truth
from attnprobe.errors import ImageError
from attnprobe.pictures.labels import label_numbers, load_labels, save_labels
from attnprobe.pictures.reading import picture_size, read_image

any_labels = plain_labels(None)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM"]),
    st.integers(1, 8),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_a_picture_s_size_is_that_of_the_upright_picture(form, orientation, height, width):
    image = Image.new("RGB", (width, height))
    exif = Image.Exif()
    exif[0x0112] = orientation
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "picture")
        image.save(
            path, form, **({"exif": exif} if form in ("JPEG", "PNG", "WEBP", "TIFF") else {})
        )
        assert picture_size(path) == read_image(path).size[::-1]


def test_only_the_head_of_a_picture_is_read_for_its_size(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8)
    for form in ("JPEG", "PNG"):
        whole = io.BytesIO()
        Image.fromarray(photo).save(whole, form)
        (tmp_path / "picture").write_bytes(whole.getvalue()[:2000])
        assert picture_size(tmp_path / "picture") == (400, 300)
        with pytest.raises(ImageError):
            read_image(tmp_path / "picture")


def test_a_picture_whose_size_can_not_be_told(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ImageError, match=r"text\.jpg: not a picture"):
        picture_size(tmp_path / "text.jpg")
    with pytest.raises(ImageError, match=r"none\.jpg: can't be read: No such file"):
        picture_size(tmp_path / "none.jpg")


@settings(deadline=None)
@given(st.data())
def test_labels_that_attnprobe_saved_are_read_as_they_were(data):
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    high = data.draw(st.sampled_from([1, 254, 255, 1000, 65534]))
    values = data.draw(st.lists(st.integers(0, high), min_size=25, max_size=25))
    labels = np.array(values)[: shape[0] * shape[1]].reshape(shape)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "labels.png")
        save_labels(labels, path)
        with Image.open(path) as image:
            assert np.array_equal(label_numbers(image), labels)
        assert np.array_equal(load_labels(path), labels)
        # As truth too: none of our own segments is void.
        picture = os.path.join(folder, "picture.png")
        Image.new("RGB", shape[::-1]).save(picture)
        assert np.array_equal(read_truth(Path(picture), Path(path), any_labels), labels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK", "F"])
def test_pictures_of_colours_are_refused(tmp_path, mode):
    Image.new("RGB", (4, 3)).save(tmp_path / "picture.png")
    label = tmp_path / "label.tif"
    Image.new(mode, (4, 3)).save(label)
    with pytest.raises(ImageError) as caught:
        read_truth(tmp_path / "picture.png", label, any_labels)
    assert (
        str(caught.value) == f"{label}: labels must be an indexed or grey picture. Got mode {mode}"
    )


def test_labels_of_one_bit(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "picture.png")
    Image.fromarray(np.eye(3, 4, dtype=bool)).save(tmp_path / "label.png")
    truth = read_truth(tmp_path / "picture.png", tmp_path / "label.png", any_labels)
    assert truth.tolist() == np.eye(3, 4, dtype=int).tolist()


def test_a_matlab_file_without_its_map(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "picture.png")
    savemat(tmp_path / "label.mat", {"Labels": np.zeros((3, 4))})
    with pytest.raises(ImageError, match=r"label\.mat: a MATLAB file without a LabelMap"):
        read_truth(tmp_path / "picture.png", tmp_path / "label.mat", any_labels)


def test_a_folder_in_a_label_s_place(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "picture.png")
    for name in ("label.png", "label.mat"):
        (tmp_path / name).mkdir()
        with pytest.raises(ImageError, match=rf"{name}: .*[Ff]older|{name}: .*directory"):
            read_truth(tmp_path / "picture.png", tmp_path / name, any_labels)


@settings(deadline=None)
@given(st.lists(st.from_regex(r"[a-z0-9_/]{1,8}", fullmatch=True), min_size=1))
def test_a_list_names_each_picture_once_in_its_order(names):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "names.txt")
        with open(path, "w") as file:
            file.writelines(f"  {name} 1\n\n" for name in names)
        listed = name_list(Path(path))
    assert listed == sorted(set(names), key=names.index)
