"""Published settings run end to end on a dataset in miniature, in COCO's own layout."""

import json

import numpy as np
import pytest
from PIL import Image

from attnprobe.data.scenes import make_scene
from attnprobe.evaluate import PROTOCOLS, HungarianMetric
from attnprobe.evaluate.leaderboard import LeaderboardEntry
from attnprobe.evaluate.published import Conditions, published
from attnprobe.recipe import load_recipe
from attnprobe.run.reproduce import ID_LIST, SETTINGS, Reproduction

FINE = np.array([105, 0, 23, 94, 110, 168, 255], np.uint8)
"""Sky, person, animal, building, ground, plant, and no label."""
COARSE = np.array([23, 9, 7, 20, 21, 22, -1])
"""The same in 27 classes."""

MODEL = ["--model", "tiny", "--device", "cpu"]


@pytest.fixture
def coco(tmp_path):
    """Five scenes as COCO-Stuff lies on disk, four of them on the list."""
    root = tmp_path / "coco"
    for folder in ("val2017", "stuffthingmaps/val2017"):
        (root / folder).mkdir(parents=True)
    names = [f"{number:012d}" for number in range(5)]
    for number, name in enumerate(names):
        scene = make_scene("validation", number)
        labels = scene.labels.copy()
        labels[:5, :9] = 6  # void
        cut = (slice(None), slice(0, 128 - 7 * number))  # not all of them square
        Image.fromarray(scene.image[cut]).save(root / f"val2017/{name}.jpg", quality=95)
        Image.fromarray(FINE[labels][cut]).save(root / f"stuffthingmaps/val2017/{name}.png")
    (root / ID_LIST).write_text("".join(f"{name}\n" for name in names[:4]))
    return root


def test_a_setting_is_run_and_held_against_its_figure(attnprobe, coco, tmp_path):
    status, out, err = attnprobe("reproduce", "diffseg-512", "--root", coco, *MODEL, "-o", "out")
    assert (status, err) == (0, "")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["images"], summary["scored"]) == (4, 4)
    assert summary["protocol"] == PROTOCOLS["released"].to_dict()
    pipeline = load_recipe(tmp_path / "out" / "recipe.yaml").build()
    score = HungarianMetric(27)
    listed = json.loads((tmp_path / "out" / "images.json").read_text())
    for name in (entry["image"] for entry in listed):
        stored = np.asarray(Image.open(coco / f"stuffthingmaps/val2017/{name}.png"))
        truth = COARSE[np.argmax(stored[..., None] == FINE, -1)]
        side = min(truth.shape)
        top, left = (truth.shape[0] - side) // 2, (truth.shape[1] - side) // 2
        nearest = (2 * np.arange(512) + 1) * side // 1024
        found = pipeline.segment(coco / f"val2017/{name}.jpg").resized((512, 512))
        score.update(found.labels, truth[top + nearest][:, left + nearest])
    scores = score.compute()
    assert (summary["pooled"]["acc"], summary["pooled"]["miou"]) == (scores.acc, scores.miou)
    mine = {name: 100 * summary["pooled"][name.lower()] for name in ("mIoU", "ACC")}
    figure = published().figure("DiffSeg (512)", "coco-stuff-27")
    for name, theirs in (("mIoU", figure.miou), ("ACC", figure.acc)):
        (row,) = (line.split() for line in out.splitlines() if line.split()[:1] == [name])
        assert row == [name, f"{mine[name]:.1f}", f"{theirs:.1f}", f"{mine[name] - theirs:+.1f}"]
    said = [line for line in out.splitlines() if line.startswith("not comparable: ")]
    assert said == [
        "not comparable: the figures are of sd14, and numbers of another model, here tiny, don't "
        "compare",
        "not comparable: 4 of the dataset's 2,175 images are scored",
    ]
    assert "reproduced" not in out


def test_a_trial_takes_the_first_images_and_goes_on(attnprobe, coco, tmp_path):
    trial = ["reproduce", "diffseg-320", "--root", coco, "--limit", "2", *MODEL, "-o", "out"]
    assert attnprobe(*trial)[0] == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["images"], summary["protocol"]["size"]) == (2, 320)
    next((tmp_path / "out" / "labels").iterdir()).unlink()
    status, out, _ = attnprobe(*trial, "--resume")
    assert status == 0
    assert "2 of the dataset's 2,175 images" in out
    assert len(list((tmp_path / "out" / "labels").iterdir())) == 2


def test_missing_data_are_told_and_nothing_is_run(attnprobe, coco, tmp_path):
    given = ["reproduce", "diffseg-512", *MODEL, "-o", "out", "--root"]
    (coco / "stuffthingmaps/val2017/000000000001.png").unlink()
    status, out, err = attnprobe(*given, coco)
    assert (status, out) == (2, "")
    assert "pictures without labels: 1 (000000000001)" in err
    (coco / ID_LIST).unlink()
    status, out, err = attnprobe(*given, coco)
    assert (status, out) == (2, "")
    assert f"{coco / ID_LIST}: not there" in err
    status, out, err = attnprobe(*given, "nowhere")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: nowhere: no such folder")
    status, _, err = attnprobe("reproduce", "diffseg512", "--root", coco)
    assert status == 2
    assert err.startswith(
        "error: nothing published is called 'diffseg512'; did you mean diffseg-512"
    )
    assert not (tmp_path / "out").exists()


def measured(miou, acc, **more):
    given = {"model": "sd14", "images": 2175, "scored": 2175} | more
    conditions = given.pop("conditions", Conditions("per-image", 512, True))
    name = "coco-stuff-27"
    return LeaderboardEntry(name, name, miou, acc, conditions, "run", measured=True, **given)


@pytest.mark.parametrize(
    ("row", "succeeded"),
    [
        (measured(43.6, 72.5), True),
        (measured(42.61, 73.49), True),
        (measured(42.59, 72.5), False),
        (measured(43.6, 73.6), False),
        (measured(43.6, 72.5, model="sd15"), None),
        (measured(43.6, 72.5, images=50, scored=50), None),
        (measured(43.6, 72.5, scored=2174), None),
        (measured(43.6, 72.5, conditions=Conditions("per-image", 0, True)), None),
    ],
)
def test_only_the_same_setting_succeeds_or_fails(row, succeeded):
    reproduction = Reproduction.of(row, SETTINGS["diffseg-512"])
    assert reproduction.succeeded is succeeded
    assert bool(reproduction.apart) == (succeeded is None)


def test_every_setting_is_of_a_dataset_with_figures():
    for setting in SETTINGS.values():
        assert setting.dataset in published().datasets
        assert setting.figure is None or setting.figure.dataset == setting.dataset
    assert [setting.method for setting in SETTINGS.values()][:2] == [
        "DiffSeg (512)",
        "DiffSeg (320)",
    ]
