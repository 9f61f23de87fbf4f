"""BSDS500 in miniature: several people's segmentations of a picture, or the fault with its file."""

import pickle

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from attnprobe.data.bsds500 import Bsds500
from attnprobe.errors import ImageError
from attnprobe.testing import check_source

SIZE = (23, 37)
NAMES = ("101085", "2018", "3063")


def cell(*people):
    """The people as the files have them: a cell with a structure for each."""
    stored = np.empty((1, len(people)), object)
    for i, segmentation in enumerate(people):
        stored[0, i] = {"Segmentation": segmentation, "Boundaries": np.zeros(SIZE, np.uint8)}
    return stored


def write(root, names=NAMES, people=(5, 4, 9), below=""):
    """A miniature; the people's segmentations by name, from 0."""
    truths = {}
    for seed, (name, count) in enumerate(zip(names, people, strict=True)):
        rng = np.random.default_rng(seed)
        picture = root / f"{below}images/val/{name}.jpg"
        label = root / f"{below}groundTruth/val/{name}.mat"
        for path in (picture, label):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(picture)
        drawn = [rng.integers(1, 4 + i, SIZE).astype(np.uint16) for i in range(count)]
        savemat(label, {"groundTruth": cell(*drawn)})
        truths[name] = [each.astype(int) - 1 for each in drawn]
    return truths


@pytest.mark.parametrize("below", ["", "BSDS500/data/", "BSR/BSDS500/data/"])
def test_every_person_s_segmentation(below, tmp_path):
    truths = write(tmp_path, below=below)
    source = Bsds500(str(tmp_path))
    assert source.classes is None
    assert [sample.name for sample in source()] == sorted(NAMES)
    check_source(source)
    for sample in source():
        people = pickle.loads(pickle.dumps(sample)).truth()
        assert isinstance(people, tuple)
        assert all(each.dtype == np.int32 for each in people)
        assert np.array_equal(people, truths[sample.name])
    assert [s.name for s in Bsds500(str(tmp_path), count=1, start=1)()] == ["2018"]


def test_whole_doubles_are_numbers_and_0_is_void(tmp_path):
    write(tmp_path)
    stored = np.ones(SIZE)
    stored[0, 0] = 0
    savemat(tmp_path / "groundTruth/val/2018.mat", {"groundTruth": cell(stored)})
    (only,) = Bsds500(str(tmp_path))()[1].truth()
    assert (only[0, 0], only.max(), only.dtype) == (-1, 0, np.int32)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"LabelMap": np.ones(SIZE)}, "a MATLAB file without a groundTruth"),
        ({"groundTruth": np.ones(SIZE)}, "must be a cell with a structure for each person"),
        ({"groundTruth": np.empty((1, 0), object)}, "must be a cell"),
        ({"groundTruth": cell(np.ones(SIZE[::-1], int))}, "37×23. Got 23×37 instead"),
        ({"groundTruth": cell(np.full(SIZE, 1.5))}, "must be whole numbers of shape"),
        ({"groundTruth": cell(np.full(SIZE, -1))}, "numbers are 0 or more. Got -1 instead"),
    ],
)
def test_a_file_of_another_form_is_refused_by_its_name(content, sentence, tmp_path):
    write(tmp_path)
    path = tmp_path / "groundTruth/val/101085.mat"
    savemat(path, content)
    sample, *others = Bsds500(str(tmp_path))()
    with pytest.raises(ImageError, match=sentence) as caught:
        sample.truth()
    assert str(caught.value).startswith(f"{path}: ")
    assert all(len(other.truth()) for other in others)


def test_a_person_without_segmentation_is_refused(tmp_path):
    write(tmp_path)
    stored = np.empty((1, 1), object)
    stored[0, 0] = {"Boundaries": np.zeros(SIZE)}
    savemat(tmp_path / "groundTruth/val/101085.mat", {"groundTruth": stored})
    with pytest.raises(ImageError, match="a person in groundTruth has no Segmentation"):
        Bsds500(str(tmp_path))()[0].truth()


def test_what_is_missing_is_named_with_where_it_is_had(tmp_path):
    with pytest.raises(ImageError, match=r"no such folder; the dataset is had from http"):
        Bsds500(str(tmp_path / "none"))()
    write(tmp_path)
    (tmp_path / "groundTruth/val/2018.mat").unlink()
    (lack,) = Bsds500(str(tmp_path)).inventory().lacks
    assert lack.names == ("2018",)
    assert "pictures without labels" in lack.describe()
