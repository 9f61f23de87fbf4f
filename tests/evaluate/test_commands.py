"""`attnprobe evaluate` on folders of predictions."""

import json

import numpy as np
import pytest

from attnprobe.data.scenes import Scenes
from attnprobe.evaluate import PROTOCOLS
from attnprobe.pictures.labels import save_labels
from tests.data.miniatures import ALL
from tests.run.conftest import attnprobe

__all__ = ["attnprobe"]

SAMPLES = Scenes(count=4)()
SCENES = ["--recipe", "diffseg", "--set", "images={use: scenes, count: 4}"]


@pytest.fixture
def predictions(tmp_path):
    """The truth of four scenes, half of the last one wrong."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for sample in SAMPLES:
        labels = sample.truth().copy()
        if sample is SAMPLES[-1]:
            labels[:64] = labels.max() + 1
        save_labels(labels, folder / f"{sample.name}.png")
    return folder


def test_scores_are_shown_and_saved(attnprobe, predictions, tmp_path):
    status, out, err = attnprobe("evaluate", "--predictions", "mine", *SCENES, "-o", "s.json")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "whole: match per-image, nothing cut, own size"
    assert lines[1] == "over 4 of 4 images"
    said = json.loads((tmp_path / "s.json").read_text())
    shown = {line.split("  ")[0]: line.split() for line in lines}
    assert shown["ACC"][1] == f"{said['scores']['acc']['value']:.3f}" != "1.000"
    assert shown["ARI"][1] == f"{said['scores']['ari']['value']:.3f}"
    assert said["scored"] == 4


def test_fewer_images_are_said_and_make_the_status_1(attnprobe, predictions):
    for sample in SAMPLES[:2]:
        (predictions / f"{sample.name}.png").unlink()
    status, out, err = attnprobe("evaluate", "--predictions", "mine", *SCENES)
    assert (status, err) == (1, "")
    assert "over 2 of 4 images\n" in out
    assert "left out: 2 of 4 images\n" in out
    assert f"  {SAMPLES[0].name}: mine: has neither {SAMPLES[0].name}.png nor" in out


def test_of_many_left_out_a_few_are_named(attnprobe, predictions):
    more = ["--recipe", "diffseg", "--set", "images={use: scenes, count: 20}"]
    status, out, _ = attnprobe("evaluate", "--predictions", "mine", *more)
    assert status == 1
    assert "left out: 16 of 20 images\n" in out
    assert out.count("has neither") == 5
    assert out.endswith("  … and 11 more\n")


def test_a_source_by_its_name_and_a_protocol(attnprobe, predictions, tmp_path):
    """Truths of 128 px at 512: each pixel sixteen times."""
    for sample in SAMPLES[:2]:
        labels = sample.truth().repeat(4, 0).repeat(4, 1).astype(np.int16)
        (predictions / f"{sample.name}.png").unlink()
        np.save(predictions / f"{sample.name}.npy", labels)
    status, out, err = attnprobe(
        "evaluate", "--predictions", "mine", "--dataset", "scenes", "--set", "images.count=4",
        "--protocol", "released", "--match", "best-overlap", "-o", "s.csv",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert out.startswith("released, changed: match best-overlap, centre square, 512×512\n")
    rows = (tmp_path / "s.csv").read_text().splitlines()
    assert len(rows) == 5
    assert rows[1].startswith(f"{SAMPLES[0].name},1.0,1.0,1.0,")


def test_a_named_protocol_starts_afresh(attnprobe, predictions):
    """The recipe says match: per-image, which would take DiffCut's match away."""
    arguments = ["evaluate", "--predictions", "mine", *SCENES, "--protocol", "diffcut-voc"]
    status, out, err = attnprobe(*arguments)
    assert (status, out) == (2, "")
    assert "match: foreground needs classes" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give the images by --dataset NAME or by --recipe RECIPE"),
        (["--dataset", "scenes", "--recipe", "diffseg"], "give the images by --dataset NAME or"),
        (["--dataset", "scnes"], "unknown source 'scnes'; did you mean scenes?"),
        (["--dataset", "scenes", "--set", "images.cuont=3"], "did you mean count?"),
        (["--dataset", "scenes", "--root", "x"], "--root x: images.root: unknown key"),
        (["--dataset", "scenes", "--protocol", "relesed"], "--protocol relesed: evaluate.protocol"),
        (["--dataset", "scenes", "--match", "per-dataset"], "no fixed list of classes"),
        (["--dataset", "scenes", "-o", "scores.txt"], "scores are written as .json or .csv"),
        (["--dataset", "scenes", "--predictions", "nowhere"], "no such folder of predictions"),
        (["--dataset", "photos"], "none of 2 images could be scored; the first: scikit-learn"),
    ],
)
def test_what_can_t_be_scored_is_a_sentence(attnprobe, predictions, arguments, sentence):
    status, out, err = attnprobe("evaluate", "--predictions", "mine", *arguments)
    assert (status, out) == (2, "")
    assert sentence in err
    assert err.startswith("error: ")
    assert "Traceback" not in err


@pytest.mark.parametrize("protocol", ["whole", "released", "diffcut-voc"])
def test_a_benchmark_s_scores_are_over_its_classes(attnprobe, tmp_path, protocol):
    voc = next(each for each in ALL if each.use == "pascal-voc" and not each.keys)
    truths = voc.write(tmp_path / "data")
    (tmp_path / "mine").mkdir()
    expected = PROTOCOLS[protocol].metric(21)
    for name, truth in truths.items():
        labels = np.roll(truth, 3, 1)
        np.save(tmp_path / "mine" / f"{name}.npy", labels)
        side = min(truth.shape) if PROTOCOLS[protocol].crop else truth.shape[1]
        left = (truth.shape[1] - side) // 2
        expected.update(*(PROTOCOLS[protocol].resized(array[:, left : left + side])
                          for array in (labels, truth)))  # fmt: skip
    status, out, err = attnprobe(
        "evaluate", "--predictions", "mine", "--dataset", "pascal-voc", "--root", "data",
        "--protocol", protocol, "-o", "s.json",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert "ACC and mIoU over the dataset's 21 classes" in out
    said = json.loads((tmp_path / "s.json").read_text())
    scores = expected.compute()
    assert said["scores"]["acc"]["value"] == scores.acc
    assert said["scores"]["miou"]["value"] == scores.miou
    assert said["scores"]["miou"]["low"] <= scores.miou <= said["scores"]["miou"]["high"]
    assert len(said["iou"]) == 21
    assert f"{scores.iou[0]:.3f}" == out.partition("\nbackground")[2].split()[0]
