import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attnprobe.data.folder import Folder
from attnprobe.errors import ComponentError, ImageError
from attnprobe.pictures.labels import save_labels
from attnprobe.testing import check_source

PICTURES = ["a.jpg", "b.png", "deep/c.webp"]


@pytest.fixture
def here(tmp_path):
    """Three pictures, and a label file for each: label 255 is void."""
    rng = np.random.default_rng(0)
    for name in PICTURES:
        picture, label = tmp_path / "photos" / name, tmp_path / "truth" / name
        for path in (picture, label):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (7, 5)).save(picture)
        values = rng.choice([0, 1, 2, 255], (5, 7)).astype(np.uint8)
        Image.fromarray(values).save(label.with_suffix(".png"))
    return tmp_path


def test_labels_by_the_pictures_names(here):
    samples = Folder(here / "photos", here / "truth")()
    assert [sample.name for sample in samples] == ["a", "b", "deep--c"]
    for sample, name in zip(samples, ["a", "b", "deep/c"], strict=True):
        stored = np.asarray(Image.open(here / "truth" / f"{name}.png")).astype(int)
        for truth in (sample.truth(), pickle.loads(pickle.dumps(sample)).truth()):
            assert truth.dtype == np.int32
            assert np.array_equal(truth, np.where(stored == 255, -1, stored))


def test_the_contract_of_sources(here):
    check_source(Folder(str(here / "photos"), str(here / "truth")))
    check_source(Folder(str(here / "photos"), str(here / "truth"), ("sky", "sea", "sand")))


def test_a_pattern_a_file_and_a_list_find_the_same_labels(here):
    for path in ("photos/*.jpg", "photos/a.jpg"):
        (sample,) = Folder(here / path, here / "truth")()
        assert sample.truth().max() == 2
    samples = Folder((here / "photos/deep", here / "photos/a.jpg"), here / "truth")()
    assert samples[1].truth().max() == 2
    with pytest.raises(ImageError, match=r"truth/c\.png: can't be read: No such file"):
        samples[0].truth()


def test_labels_below_the_pictures_are_no_pictures(here):
    (here / "truth").rename(here / "photos/truth")
    assert len(Folder(here / "photos", here / "photos/truth")()) == 3
    assert len(Folder(here / "photos")()) == 6
    with pytest.raises(ImageError, match="photos/truth: no images but those of labels"):
        Folder(here / "photos/truth", here / "photos")()


def test_names_are_classes_and_bound_the_labels(here):
    assert Folder(here / "photos", here / "truth").classes is None
    named = Folder(here / "photos", here / "truth", ["sky", "sea", "sand"])
    assert named.classes.names == ("sky", "sea", "sand")
    assert named.classes.colours is None
    assert named()[0].truth().max() == 2
    few = Folder(here / "photos", here / "truth", ["sky", "sea"])
    with pytest.raises(ImageError, match=r"a\.png: labels must be among 0-1 255\. Got 2 instead"):
        few()[0].truth()
    with pytest.raises(ComponentError, match=r"Folder\.names"):
        Folder(here / "photos", names=["sky"])


def test_a_label_file_of_another_size_or_none(here):
    save_labels(np.zeros((5, 6), int), here / "truth/a.png")
    (here / "truth/b.png").unlink()
    a, b, _ = Folder(here / "photos", here / "truth")()
    with pytest.raises(ImageError, match=r"a\.png: labels must have their picture's size, 7×5\."):
        a.truth()
    with pytest.raises(ImageError, match=r"b\.png: can't be read: No such file"):
        b.truth()


def test_a_turned_photograph_has_labels_for_the_upright_one(here):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (5, 7)).save(here / "photos/a.jpg", exif=exif)
    a, *_ = Folder(here / "photos", here / "truth")()
    assert a.read().size == (7, 5)
    assert a.truth().shape == (5, 7)


def test_no_folder_of_labels(here):
    with pytest.raises(ImageError, match="none: no such folder, where the labels should be"):
        Folder(here / "photos", here / "none")()


def test_relative_paths_and_the_home_directory(here, monkeypatch):
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))
    for photos, truth in (("photos", "truth"), ("~/photos", "~/truth"), ("photos", "./x/../truth")):
        if ".." in truth:
            (here / "x").mkdir()
        assert Folder(photos, truth)()[0].truth().max() == 2


names = st.sampled_from(["a", "b", "c", "d/a", "d/e"])


@settings(max_examples=40, deadline=None)
@given(st.sets(names, min_size=1), st.sets(names))
def test_the_inventory_is_the_difference_of_the_sets(pictures, labels):
    with tempfile.TemporaryDirectory() as folder:
        for kind, present, end in (("p", pictures, "jpg"), ("l", labels, "png")):
            (Path(folder) / kind / "d").mkdir(parents=True)
            for name in present:
                (Path(folder) / kind / f"{name}.{end}").touch()
        inventory = Folder(f"{folder}/p", f"{folder}/l").inventory()
    assert [count for _, count, _ in inventory.counts] == [len(pictures), len(labels)]
    found = {lack.what: set(lack.names) for lack in inventory.lacks}
    wanted = {
        "pictures without labels": pictures - labels,
        "labels without pictures": labels - pictures,
    }
    assert found == {what: names for what, names in wanted.items() if names}
