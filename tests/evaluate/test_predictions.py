"""Folders of label files, as any program may leave them."""

import csv
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from attnprobe.data.base import Sample
from attnprobe.errors import AttnProbeError, ImageError
from attnprobe.evaluate import PROTOCOLS, HungarianMetric, Protocol, RegionMetric, Scorer
from attnprobe.evaluate.predictions import evaluate_predictions, read_prediction
from attnprobe.pictures.labels import save_labels

CLASSES = ("sky", "sea", "food", "food")
SCORING = Scorer(names=CLASSES)
SHAPES = [(40, 60), (33, 32), (50, 50), (20, 90)]


def never():
    raise AssertionError("pictures aren't needed")


@pytest.fixture
def dataset():
    """Samples a, b, c, d of four classes and odd sizes."""
    rng = np.random.default_rng(0)
    truths = [np.kron(rng.integers(-1, 4, (6, 9)), np.ones((9, 10), int)) for _ in SHAPES]
    return [
        Sample(name, never, partial(np.copy, truth[:h, :w]), where=f"{name}.jpg")
        for name, truth, (h, w) in zip("abcd", truths, SHAPES, strict=True)
    ]


@pytest.fixture
def folder(tmp_path, dataset):
    """A prediction for each, a few pixels off; the last as an array with unassigned pixels."""
    for sample in dataset:
        labels = np.roll(sample.truth(), 2, 1) + 1
        save_labels(labels, tmp_path / f"{sample.name}.png")
    (tmp_path / "d.png").unlink()
    np.save(tmp_path / "d.npy", (labels - 1).astype(np.int16))
    return tmp_path


def read(folder, name):
    path = folder / f"{name}.npy"
    return np.load(path) if path.exists() else np.asarray(Image.open(folder / f"{name}.png"))


@pytest.mark.parametrize("match", ["per-image", "per-dataset", "majority", "best-overlap"])
def test_scores_are_those_of_the_arrays(folder, dataset, match):
    protocol = Protocol("p", match)
    score, regions = protocol.metric(4), RegionMetric()
    for sample in dataset:
        score.update(read(folder, sample.name), sample.truth())
        regions.update(read(folder, sample.name), sample.truth())
    found = evaluate_predictions(folder, dataset, Scorer(protocol, CLASSES))
    assert found.scores.counts.tolist() == score.compute().counts.tolist()
    numbers = found.numbers()
    assert (numbers["acc"].value, numbers["miou"].value) == (found.scores.acc, found.scores.miou)
    for name in ("ari", "nmi", "boundary_f", "covering", "segments", "true_segments"):
        number = numbers[name]
        assert number.value == pytest.approx(getattr(regions.compute(), name))
        assert number.low <= number.value <= number.high
    assert np.isnan(numbers["miou"].low) == (match == "per-dataset")
    assert (found.count, found.left_out) == (4, {})


@pytest.mark.parametrize("form", ["picture", "square", "protocol"])
def test_a_prediction_may_have_the_size_of_the_picture_or_of_what_is_scored(folder, dataset, form):
    protocol = Protocol("p", crop="centre-square", size=48)
    score = HungarianMetric(4)
    for sample in dataset:
        h, w = sample.truth().shape
        side = min(h, w)
        top, left = (h - side) // 2, (w - side) // 2
        labels, truth = (
            array[top : top + side, left : left + side]
            for array in (read(folder, sample.name), sample.truth())
        )
        index = (2 * np.arange(48) + 1) * side // 96
        small = [array[index[:, None], index] for array in (labels, truth)]
        score.update(*small)
        if form != "picture":
            (folder / f"{sample.name}.png").unlink(missing_ok=True)
            np.save(folder / f"{sample.name}.npy", labels if form == "square" else small[0])
    found = evaluate_predictions(folder, dataset, Scorer(protocol, CLASSES))
    assert found.left_out == {}
    assert found.scores.counts.tolist() == score.compute().counts.tolist()


def rgb(folder):
    Image.new("RGB", (60, 40)).save(folder / "a.png")
    return "a.png: labels must be an indexed or grey picture. Got mode RGB"


def missing(folder):
    (folder / "a.png").unlink()
    return f"{folder}: has neither a.png nor a.npy"


def twice(folder):
    np.save(folder / "a.npy", np.zeros((40, 60), int))
    return f"{folder}: has both a.png and a.npy"


def another_size(folder):
    save_labels(np.zeros((41, 60), int), folder / "a.png")
    return "a.png: must be 60×40. Got 60×41 instead."


def void(folder):
    Image.fromarray(np.full((40, 60), 255, np.uint8)).save(folder / "a.png")
    return "a.png: all void: every pixel is 255"


def deep_void(folder):
    Image.fromarray(np.full((40, 60), 65535, np.uint16)).save(folder / "a.png")
    return "a.png: all void: every pixel is 65535"


def unassigned(folder):
    (folder / "a.png").unlink()
    np.save(folder / "a.npy", np.full((40, 60), -1))
    return "a.npy: all void: every pixel is -1"


def no_picture(folder):
    (folder / "a.png").write_text("labels")
    return "a.png: not a picture of a known format"


def torn(folder):
    whole = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(whole[: len(whole) // 2])
    return "a.png: broken or truncated"


def logits(folder):
    (folder / "a.png").unlink()
    np.save(folder / "a.npy", np.zeros((4, 40, 60), np.float32))
    return "a.npy: labels must be whole numbers of shape (H, W). Got float32 of shape (4, 40, 60)"


def pickled(folder):
    (folder / "a.png").unlink()
    np.save(folder / "a.npy", np.array([{}]), allow_pickle=True)
    return "a.npy: can't be read: "


def no_array(folder):
    (folder / "a.png").unlink()
    (folder / "a.npy").write_bytes(b"")
    return "a.npy: can't be read: "


def below(folder):
    (folder / "a.png").unlink()
    labels = np.zeros((40, 60), int)
    labels[0, 0] = -2
    np.save(folder / "a.npy", labels)
    return "prediction: labels must be −1 or more. Got -2"


FAULTS = [rgb, missing, twice, another_size, void, deep_void, unassigned, no_picture, torn, logits,
          pickled, no_array, below]  # fmt: skip


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda fault: fault.__name__)
def test_what_can_t_be_used_is_left_out_with_a_sentence(folder, dataset, spoil):
    sentence = spoil(folder)
    found = evaluate_predictions(folder, dataset, SCORING)
    assert list(found.left_out) == ["a"]
    assert sentence in found.left_out["a"]
    assert "\n" not in found.left_out["a"]
    assert [image.image for image in found.images] == ["b", "c", "d"]
    expected = evaluate_predictions(folder, dataset[1:], SCORING).scores
    assert found.scores.counts.tolist() == expected.counts.tolist()


def bad_label():
    raise ImageError("a_label.png: label 99 at (3, 4) is out of range")


@pytest.mark.parametrize(
    ("truth", "sentence"),
    [
        (bad_label, "a_label.png: label 99"),
        (lambda: None, "a.jpg: has no truth"),
        (lambda: np.full((40, 60), 4), "truth: labels must be from 0 to 3"),
    ],
)
def test_a_bad_truth_leaves_its_image_out(folder, dataset, truth, sentence):
    dataset[0] = replace(dataset[0], truth=truth)
    found = evaluate_predictions(folder, dataset, SCORING)
    assert list(found.left_out) == ["a"]
    assert sentence in found.left_out["a"]


def test_nothing_to_score_is_an_error(folder, dataset, tmp_path):
    with pytest.raises(AttnProbeError, match="there is no such folder"):
        evaluate_predictions(folder / "none", dataset, SCORING)
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        AttnProbeError, match=r"none of 4 images could be scored; the first: .*a.np"
    ):
        evaluate_predictions(tmp_path / "empty", dataset, SCORING)


def test_what_is_saved_says_over_how_many_images(folder, dataset, tmp_path):
    (folder / "b.png").unlink()
    found = evaluate_predictions(folder, dataset, SCORING)
    found.save(tmp_path / "scores.json")
    said = json.loads((tmp_path / "scores.json").read_text())
    assert (said["images"], said["scored"], list(said["left_out"])) == (4, 3, ["b"])
    assert said["protocol"] == PROTOCOLS["whole"].to_dict()
    assert said["classes"] == list(CLASSES)
    assert list(said["iou"]) == ["sky", "sea", "food (2)", "food (3)"]
    assert said["scores"]["acc"]["value"] == found.scores.acc
    found.save(tmp_path / "scores.csv")
    with open(tmp_path / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a", "c", "d", "b"]
    assert float(rows[0]["miou"]) == found.images[0].scores.miou
    assert (rows[3]["miou"], rows[3]["left_out"]) == ("", found.left_out["b"])
    with pytest.raises(AttnProbeError, match=r"scores\.txt: scores are written as"):
        found.save(tmp_path / "scores.txt")


def test_numbers_of_objects_are_means_over_images(folder, dataset):
    found = evaluate_predictions(folder, dataset, Scorer())
    mious = [image.scores.miou for image in found.images]
    assert found.numbers()["miou"].value == pytest.approx(np.mean(mious))
    assert found.summary()["iou"] is None


def test_an_image_without_valid_pixels_counts_for_nothing(folder, dataset):
    dataset[0] = replace(dataset[0], truth=lambda: np.full((40, 60), -1))
    found = evaluate_predictions(folder, dataset, SCORING)
    rest = evaluate_predictions(folder, dataset[1:], SCORING)
    assert found.scores.counts.tolist() == rest.scores.counts.tolist()
    assert found.numbers()["ari"] == rest.numbers()["ari"]
    assert found.images[0].row()["acc"] is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_pictures_and_arrays_say_the_same(tmp_path, dtype):
    labels = np.arange(12, dtype=dtype).reshape(3, 4)
    np.save(tmp_path / "a.npy", labels)
    Image.fromarray(labels).save(tmp_path / "a.png")
    for name in ("a.npy", "a.png"):
        assert np.array_equal(read_prediction(tmp_path / name), labels)
