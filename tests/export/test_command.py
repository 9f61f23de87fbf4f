"""`attnprobe export`: a folder that is whole or not there, with the pictures that were seen."""

import json

import numpy as np
import pytest
from PIL import Image

from attnprobe.cli import main
from attnprobe.cli.export import Format
from attnprobe.export import FORMATS
from attnprobe.pictures.labels import load_labels


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code or 0


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    changes = ["images={use: scenes, count: 2}", "probe={size: 64, timesteps: [60]}"]
    assert run("run", "diffseg", *(w for c in changes for w in ("--set", c)), "-o", folder) == 0
    return folder


def test_every_format_is_a_choice():
    assert [form.value for form in Format] == list(FORMATS)


@pytest.mark.parametrize("form", FORMATS)
def test_each_format(form, done, tmp_path, capsys):
    assert run("export", done, "--format", form, "-o", tmp_path / "out") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    assert any((tmp_path / "out").iterdir())
    assert run("export", done, "--format", form, "-o", tmp_path / "out") == 2
    assert "is there already; name another folder with -o" in capsys.readouterr().err


def test_masks_and_pictures_are_the_run_s(done, tmp_path):
    assert run("export", done, "--format", "npy") == 0
    assert run("export", done, "--format", "coco", "-o", tmp_path / "coco") == 0
    data = json.loads((tmp_path / "coco/annotations.json").read_text())
    for about in data["images"]:
        name = about["file_name"]
        labels = load_labels(done / "labels" / name)
        assert np.array_equal(np.load(done / "export/npy" / name.replace(".png", ".npy")), labels)
        picture = Image.open(tmp_path / "coco/images" / name)
        assert picture.size == labels.shape[::-1] == (about["width"], about["height"])


def test_a_cropped_picture_is_cut_as_it_was_seen(tmp_path):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (45, 80, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "wide.png")
    words = ["--images", tmp_path / "wide.png", "--set", "probe={size: 64, fit: crop}"]
    assert run("run", "diffseg", *words, "-o", tmp_path / "out") == 0
    assert run("export", tmp_path / "out", "--format", "voc") == 0
    seen = Image.open(tmp_path / "out/export/voc/JPEGImages/wide.png")
    assert np.array_equal(seen, picture[:, 17:62])
    (tmp_path / "wide.png").unlink()
    assert run("export", tmp_path / "out", "--format", "rle") == 0


@pytest.mark.parametrize("form", ["coco", "yolo-seg"])
def test_nothing_is_left_where_a_picture_is_gone(form, tmp_path, capsys):
    (tmp_path / "pictures").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (40, 30), "teal").save(tmp_path / f"pictures/{name}.png")
    words = ["--images", tmp_path / "pictures", "--set", "probe.size=64"]
    assert run("run", "diffseg", *words, "-o", tmp_path / "out") == 0
    (tmp_path / "pictures/b.png").unlink()
    assert run("export", tmp_path / "out", "--format", form) == 2
    assert "b is no longer among the images of its recipe" in capsys.readouterr().err
    assert not (tmp_path / "out/export").exists() or not any((tmp_path / "out/export").iterdir())
    Image.new("RGB", (41, 30), "teal").save(tmp_path / "pictures/b.png")
    assert run("export", tmp_path / "out", "--format", form) == 2
    assert "has changed since the run: 41×30, and its labels are 40×30" in capsys.readouterr().err


def test_what_is_no_run_is_a_sentence(done, tmp_path, capsys):
    assert run("export", tmp_path, "--format", "npy") == 2
    assert "no run, for no recipe.yaml is in it" in capsys.readouterr().err
    recipe = tmp_path / "two.yaml"
    recipe.write_text(
        "extends: diffseg\nname: two\nimages: {use: scenes, count: 1}\n"
        "probe: {size: 64}\nsweep: {grid: {group.anchors: [4, 8]}}\n"
    )
    assert run("run", recipe, "-o", tmp_path / "sweep") == 0
    assert run("export", tmp_path / "sweep", "--format", "npy") == 2
    assert "holds a sweep; export one of the folders in" in capsys.readouterr().err
