"""Names and words' maps through a run: its files, its report, its exports."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from attnprobe import AttnProbeError, WordMaps
from attnprobe.cli import main
from attnprobe.pictures.labels import load_labels
from attnprobe.recipe import load_points
from attnprobe.run.folder import RunFolder
from attnprobe.run.kept_names import load_names
from attnprobe.run.kept_words import load_words, save_words
from attnprobe.run.points import run_points
from attnprobe.view.report import write_report

FEW = ["images.count=2", "probe.size=64", "probe.timesteps=[60]"]


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    folder = tmp_path_factory.mktemp("named") / "run"
    run_points(load_points("diffseg-named", FEW), folder)
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "run"
    changes = ["images.steps=2", "images.prompts=a red star on a green ground"]
    run_points(load_points("daam", [*changes, "probe.words=[star,ground]"]), folder)
    return folder


def names_of(folder):
    return {path.stem: load_names(path) for path in sorted((folder / "names").iterdir())}


def test_a_line_a_segment_with_its_share(named):
    found = names_of(named)
    assert len(found) == 2
    for image, lines in found.items():
        labels = load_labels(named / "labels" / f"{image}.png")
        numbers, areas = np.unique(labels, return_counts=True)
        shares = dict(zip(numbers.tolist(), areas / labels.size, strict=True))
        assert {line.number: line.share for line in lines} == pytest.approx(shares)
        assert any(line.name for line in lines)
        overlay = np.asarray(Image.open(named / "overlays" / f"{image}.png"))
        assert (overlay == 0).all(2).any()  # the ground of what is written


def test_the_report_says_them(named, tmp_path):
    page = write_report(named, tmp_path / "report.html").read_text(encoding="utf-8")
    for lines in names_of(named).values():
        for line in lines:
            if line.name:
                assert f'fill="{line.colour}"/></svg> {line.name} ' in page


def test_a_report_goes_without_a_names_file_that_is_damaged(named, tmp_path):
    path = next((named / "names").iterdir())
    whole = path.read_text()
    try:
        for text in ("[", '{"a": 1}', '[{"number": -1, "name": 3, "colour": "", "share": 2}]'):
            path.write_text(text)
            with pytest.raises(AttnProbeError, match=path.name):
                load_names(path)
            assert write_report(named, tmp_path / "report.html").is_file()
    finally:
        path.write_text(whole)


def test_exports_have_a_category_a_name(named, tmp_path, capsys):
    for form in ("coco", "coco-panoptic", "voc", "yolo-seg", "labelstudio", "rle"):
        with pytest.raises(SystemExit) as ended:
            main(["export", str(named), "--format", form, "-o", str(tmp_path / form)])
        assert not ended.value.code
    expected = {line.name or "segment" for lines in names_of(named).values() for line in lines}
    data = COCO(str(tmp_path / "coco/annotations.json"))
    categories = {each["id"]: each["name"] for each in data.dataset["categories"]}
    files = {each["id"]: each["file_name"] for each in data.dataset["images"]}
    for each in data.dataset["annotations"]:
        labels = load_labels(named / "labels" / files[each["image_id"]])
        lines = load_names(named / "names" / files[each["image_id"]].replace(".png", ".json"))
        name = {line.number: line.name for line in lines}[each["segment"]] or "segment"
        assert categories[each["category_id"]] == name
        assert np.array_equal(data.annToMask(each), labels == each["segment"])
    panoptic = json.loads((tmp_path / "coco-panoptic/panoptic.json").read_text())
    ids = {each["id"] for each in panoptic["categories"]}
    used = {s["category_id"] for each in panoptic["annotations"] for s in each["segments_info"]}
    assert used <= ids
    assert {"segment", *expected} == {each["name"] for each in panoptic["categories"]}
    listed = dict(line.split() for line in (tmp_path / "voc/classes.txt").open())
    for image, lines in names_of(named).items():
        picture = np.asarray(Image.open(tmp_path / "voc/SegmentationClass" / f"{image}.png"))
        labels = load_labels(named / "labels" / f"{image}.png")
        for line in lines:
            (number,) = np.unique(picture[labels == line.number])
            assert listed.get(str(number)) == line.name
            assert (number == 255) == (line.name is None)
    config = (tmp_path / "labelstudio/config.xml").read_text()
    assert all(f'<Label value="{name}"/>' in config for name in expected - {"segment"})
    assert "names:\n  0: segment\n  1: " in (tmp_path / "yolo-seg/data.yaml").read_text()


def test_a_run_of_words_keeps_their_maps_and_shows_them(drawn, tmp_path):
    (path,) = (drawn / "words").iterdir()
    kept = load_words(path)
    assert kept.maps.words == ("star", "ground")
    assert len(kept.maps.maps.flatten().unique()) > 10
    page = write_report(drawn, tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<figcaption>") == 2
    assert "Where star is looked at from" in page


def test_maps_of_words_come_back(tmp_path):
    maps = WordMaps(torch.rand(2, 5, 7) ** 8, ("a\nb", "猫"))
    save_words(tmp_path / "words" / "x.npz", Image.new("RGB", (9, 5)), maps)
    kept = load_words(tmp_path / "words" / "x.npz")
    assert kept.maps.words == maps.words
    assert kept.picture.size == (9, 5)
    torch.testing.assert_close(kept.maps.maps, maps.maps, rtol=2**-10, atol=1e-7)
    none = WordMaps(torch.zeros(1, 2, 2), ("star",))
    save_words(tmp_path / "words" / "y.npz", Image.new("RGB", (9, 5)), none)
    assert not load_words(tmp_path / "words" / "y.npz").maps.maps.any()


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 100])
def test_a_file_of_words_that_is_damaged_is_told(content, tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(AttnProbeError, match=r"x\.npz: can't be read"):
        load_words(path)
    with pytest.raises(AttnProbeError, match="no maps of words were kept"):
        load_words(tmp_path / "y.npz")


def test_what_is_done_anew_leaves_no_names_behind(named, tmp_path):
    folder = tmp_path / "run"
    points = load_points("diffseg-named", [*FEW, "images.count=1"])
    run_points(points, folder)
    (kept,) = (folder / "names").iterdir()
    RunFolder(folder).remove_images([kept.stem])
    assert not list((folder / "names").iterdir())
