"""An image is its file, not its name."""

import hashlib
import json
import os
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from attnprobe.data.folder import Folder
from attnprobe.pictures.labels import load_labels
from attnprobe.run.memory import read_once
from attnprobe.run.results import Results


@pytest.fixture
def pictures(tmp_path):
    """Two folders of pictures; what draws another one."""

    def draw(name, size=(40, 30), colour="red"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return path

    draw("A/x.png")
    draw("A/y.png", (33, 33))
    draw("B/x.png", (64, 20))
    return draw


@pytest.fixture
def again(run, tmp_path):
    """Carry the two folders' pictures, or go on with that; the notes and what was done."""

    def again(resume=True):
        both = ", ".join(f"{{use: folder, path: {tmp_path}/pictures/{name}}}" for name in "AB")
        carried = run(f"images=[{both}]", resume=resume)
        return carried.notes, [outcome.image for outcome in carried], carried

    return again


def sizes(folder):
    return {path.stem: Image.open(path).size for path in (folder.path / "labels").glob("*.png")}


def test_the_list_says_where_size_time_and_hash(again, tmp_path, pictures):
    _, _, carried = again(resume=False)
    listed = json.loads((carried.folder.path / "images.json").read_text())
    path = tmp_path / "pictures" / "B" / "x.png"
    assert [entry["image"] for entry in listed] == ["x", "y", "x-2"]
    assert listed[2] == {
        "image": "x-2",
        "where": str(path),
        "size": path.stat().st_size,
        "time": path.stat().st_ctime_ns,
        "hash": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_nothing_changed_is_nothing_done(again, pictures):
    again(resume=False)
    notes, done, carried = again()
    assert (notes, done) == ([], [])
    assert carried.results.complete


def test_a_name_that_passed_to_another_file_is_done_anew(again, pictures, tmp_path):
    again(resume=False)
    os.remove(tmp_path / "pictures" / "A" / "x.png")
    notes, done, carried = again()
    assert done == ["x"]
    assert notes == [
        "the images have changed since: 1 of another name now (x-2); 1 changed, to be done anew (x)"
    ]
    assert sizes(carried.folder) == {"x": (64, 20), "y": (33, 33)}
    assert Results.load(carried.folder).images == ["x", "y"]
    assert again()[:2] == ([], [])


def test_a_file_that_was_replaced_is_done_anew(again, pictures, tmp_path):
    again(resume=False)
    path = pictures("A/y.png", (50, 20), "white")
    notes, done, carried = again()
    assert notes == ["the images have changed since: 1 changed, to be done anew (y)"]
    assert done == ["y"]
    assert sizes(carried.folder)["y"] == (50, 20)
    assert str(path) in (carried.folder.path / "images.json").read_text()


def test_a_replacement_of_the_same_size_and_time_is_found(again, pictures, tmp_path):
    before = pictures("A/y.png", (33, 33), "black")
    again(resume=False)
    status, content = before.stat(), bytearray(before.read_bytes())
    content[-20] ^= 1
    before.write_bytes(content)
    os.utime(before, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert before.stat().st_size == status.st_size
    notes, _, _ = again()
    assert notes == ["the images have changed since: 1 changed, to be done anew (y)"]


def test_a_copy_of_the_same_content_is_the_same_image(again, pictures, tmp_path):
    again(resume=False)
    path = tmp_path / "pictures" / "A" / "y.png"
    shutil.copyfile(path, path.with_name("copy"))
    os.replace(path.with_name("copy"), path)
    assert again()[:2] == ([], [])


def test_a_failed_redo_leaves_nothing_of_the_old(again, pictures, tmp_path):
    again(resume=False)
    (tmp_path / "pictures" / "A" / "y.png").write_text("no picture any more")
    _, done, carried = again()
    assert done == ["y"]
    assert sorted(sizes(carried.folder)) == ["x", "x-2"]
    assert not carried.folder.maps("y").exists()
    assert [outcome.image for outcome in Results.load(carried.folder).failed] == ["y"]


def test_a_killed_redo_goes_on(again, pictures, run, tmp_path):
    again(resume=False)
    os.remove(tmp_path / "pictures" / "A" / "x.png")
    both = ", ".join(f"{{use: folder, path: {tmp_path}/pictures/{name}}}" for name in "AB")
    run(f"images=[{both}]", resume=True)  # begun and killed before its first image
    _, done, carried = again()
    assert done == ["x"]
    assert sizes(carried.folder) == {"x": (64, 20), "y": (33, 33)}


def test_another_label_file_is_another_truth(run, tmp_path):
    for place in ("p", "l"):
        (tmp_path / place).mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p" / "a.png")

    def label(value):
        truth = np.zeros((30, 40), np.uint8)
        truth[:, 20:] = value
        Image.fromarray(truth).save(tmp_path / "l" / "a.png")

    images = f"images={{use: folder, path: {tmp_path / 'p'}, labels: {tmp_path / 'l'}}}"
    label(1)
    (first,) = run(images)
    label(0)
    (second,) = run(images, resume=True)
    assert first.regions.true_segments == 2
    assert second.regions.true_segments == 1


def test_a_file_that_changes_while_it_is_read_fails(run, pictures, tmp_path):
    path = tmp_path / "pictures" / "A" / "y.png"
    (sample,) = Folder(str(path))()

    def read():
        picture = sample.read()
        time.sleep(0.02)
        path.write_bytes(path.read_bytes())
        return picture

    (outcome,) = run(samples=[replace(sample, read=read)])
    assert outcome.error == f"{path}: changed while it was read"


def test_pictures_kept_in_memory_are_read_again_when_they_change(pictures, tmp_path):
    path = tmp_path / "pictures" / "A" / "y.png"
    (sample,) = read_once(Folder(str(path))())
    assert sample.read() is sample.read()
    pictures("A/y.png", (50, 20))
    assert sample.read().size == (50, 20)


def test_a_list_of_names_alone_is_of_unknown_images(again, pictures):
    _, names, carried = again(resume=False)
    (carried.folder.path / "images.json").write_text(json.dumps(names))
    assert Results.load(carried.folder).images == names
    notes, done, _ = again()
    assert done == names
    assert notes[0].startswith("the images have changed since: 3 changed, to be done anew")


def test_labels_are_those_of_the_file(again, pictures, tmp_path):
    _, _, carried = again(resume=False)
    assert load_labels(carried.folder.labels("x-2")).shape == (20, 64)
