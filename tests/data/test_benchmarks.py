"""Every benchmark, in the layout of its download: right, or refused with the file's name."""

import pickle
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attnprobe.data import Classes
from attnprobe.errors import ComponentError, ImageError
from attnprobe.registry import find
from attnprobe.testing import check_source
from tests.data.miniatures import ALL, CITY, COCO, SIZE, VOC


def by_keys(mini):
    return "-".join([mini.use, *(f"{key}={value}" for key, value in mini.keys.items())])


each = pytest.mark.parametrize("mini", ALL, ids=by_keys)


def source(mini, root, **keys):
    return find("sources", mini.use)(root=root, **mini.keys, **keys)


def of(use):
    return next(mini for mini in ALL if mini.use == use)


@each
def test_pictures_and_truth(mini, tmp_path):
    truths = mini.write(tmp_path)
    samples = source(mini, tmp_path)()
    assert [sample.name for sample in samples] == sorted(truths)
    for sample, name in zip(samples, mini.names, strict=True):
        picture = tmp_path / mini.picture.format(name)
        assert sample.where == str(picture)
        assert np.array_equal(sample.read(), Image.open(picture))
        truth = sample.truth()
        assert truth.shape == SIZE
        assert truth.dtype == np.int32
        assert np.array_equal(truth, truths[sample.name])


@each
def test_the_contract_of_sources(mini, tmp_path):
    mini.write(tmp_path)
    check_source(source(mini, tmp_path))


@each
def test_classes(mini, tmp_path):
    classes = source(mini, tmp_path / "not there yet").classes
    assert isinstance(classes, Classes)
    assert len(classes) == len(classes.names) == mini.classes
    assert mini.use == "coco-stuff-27" or classes.colours.shape == (mini.classes, 3)
    if "background" in mini.keys:
        assert (classes.names[0] == "background") == mini.keys["background"]


@each
def test_samples_can_be_sent_to_another_process(mini, tmp_path):
    truths = mini.write(tmp_path)
    sample, *_ = source(mini, tmp_path)()
    sent = pickle.dumps(sample)
    assert len(sent) < 10_000
    assert np.array_equal(pickle.loads(sent).truth(), truths[sample.name])


@each
def test_each_fault_is_its_own_picture_s_and_names_the_file(mini, tmp_path):
    folder, _, end = mini.names[0].rpartition("/")
    places = [f"{folder}/" if folder else ""] * 6
    names = [f"{place}{end[:-1]}{i}" for i, place in enumerate(places)]
    mini.write(tmp_path, names)
    files = [tmp_path / mini.label.format(name) for name in names]
    stored = np.full(SIZE, next(iter(mini.numbers)))
    files[0].unlink()
    files[1].write_bytes(b"no picture")
    mini.write_label(tmp_path, names[2], stored[:-1])
    mini.write_label(tmp_path, names[3], np.where(np.eye(*SIZE), mini.refused, stored))
    (tmp_path / mini.picture.format(names[4])).write_bytes(b"no picture")
    samples = source(mini, tmp_path)()
    for i, sentence in enumerate([
        "can't be read: No such file or directory",
        "broken or truncated: " if files[1].suffix == ".mat" else "not a picture of a known format",
        "labels must have their picture's size, 37×23. Got 37×22 instead.",
        f"Got {mini.refused} instead, at 23 of 851 pixels.",
    ]):  # fmt: skip
        assert samples[i].read().size == SIZE[::-1]
        with pytest.raises(ImageError) as caught:
            samples[i].truth()
        assert str(caught.value).startswith(f"{files[i]}: ")
        assert sentence in str(caught.value)
    for ask in (samples[4].read, samples[4].truth):
        with pytest.raises(ImageError, match=f"{samples[4].where}: not a picture"):
            ask()
    assert samples[5].truth().shape == SIZE


@each
def test_a_missing_folder_is_named_with_where_it_is_had(mini, tmp_path):
    with pytest.raises(ImageError) as caught:
        source(mini, tmp_path / "none")()
    assert str(caught.value).startswith(f"{tmp_path / 'none'}: no such folder; ")
    assert "http" in str(caught.value)
    mini.write(tmp_path)
    for pattern, what in ((mini.label, "labels"), (mini.picture, "pictures")):
        folder = (tmp_path / pattern.format(mini.names[0])).parent
        if "leftImg8bit" in pattern or "gtFine" in pattern:
            folder = folder.parent
        folder.rename(tmp_path / what)
        with pytest.raises(ImageError) as caught:
            source(mini, tmp_path)()
        assert str(caught.value).startswith(str(folder))
        assert f"not there, where the {what} should be; had from http" in str(caught.value)


@pytest.mark.parametrize("mini", [m for m in ALL if m.listed], ids=by_keys)
def test_the_split_s_list_decides(mini, tmp_path):
    mini.write(tmp_path)
    listed = tmp_path / mini.listed
    listed.write_text(f"{VOC[2]}\n\n  {VOC[0]}  1\n{VOC[2]}\n")
    assert [sample.name for sample in source(mini, tmp_path)()] == [VOC[2], VOC[0]]
    listed.write_text("\n \n")
    with pytest.raises(ImageError, match=rf"{listed.name}: lists no pictures"):
        source(mini, tmp_path)()
    listed.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ImageError, match=rf"{listed.name}: can't be read: it is no text"):
        source(mini, tmp_path)()
    listed.unlink()
    with pytest.raises(ImageError, match=r"val\.txt: not there, where the list should be"):
        source(mini, tmp_path)()


@pytest.mark.parametrize("use", ["coco-stuff-27", "coco-stuff-171", "coco-object"])
def test_coco_s_id_list(use, tmp_path, monkeypatch):
    mini = of(use)
    mini.write(tmp_path / "coco")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ids.txt").write_text(f"{COCO[2]}\n{COCO[1]}\n000000999999\n")
    for ids in ("ids.txt", "~/ids.txt", str(tmp_path / "ids.txt")):
        samples = source(mini, "coco", ids=ids)()
        assert [sample.name for sample in samples] == [COCO[2], COCO[1], "000000999999"]
    with pytest.raises(ImageError, match=r"000000999999\.jpg: can't be read: No such file"):
        samples[2].read()
    with pytest.raises(ImageError, match=r"none\.txt: not there, where the list should be; had"):
        source(mini, "coco", ids="none.txt")()


def test_coco_as_its_own_instructions_lay_it_out(tmp_path):
    mini = of("coco-stuff-27")
    truths = mini.write(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "val2017").rename(tmp_path / "images/val2017")
    (tmp_path / "stuffthingmaps").rename(tmp_path / "annotations")
    for sample in source(mini, tmp_path)():
        assert np.array_equal(sample.truth(), truths[sample.name])


def test_context_with_its_maps_inside_the_kit(tmp_path):
    mini = of("pascal-context")
    truths = mini.write(tmp_path)
    (tmp_path / "trainval").rename(tmp_path / "VOCdevkit/VOC2010/trainval")
    for sample in source(mini, tmp_path)():
        assert np.array_equal(sample.truth(), truths[sample.name])


@pytest.mark.parametrize(
    ("use", "old", "new", "split"),
    [
        ("coco-stuff-27", "val2017", "train2017", "train"),
        ("cityscapes-19", "/val/", "/train/", "train"),
        ("pascal-voc", "val.txt", "trainval.txt", "trainval"),
        ("pascal-context", "val.txt", "train.txt", "train"),
        ("ade20k", "validation", "training", "training"),
    ],
)
def test_other_splits(use, old, new, split, tmp_path):
    mini = of(use)
    truths = mini.write(tmp_path)
    for path in sorted(tmp_path.rglob("*")):
        moved = tmp_path / str(path.relative_to(tmp_path)).replace(old, new)
        if path.is_file() and moved != path:
            moved.parent.mkdir(parents=True, exist_ok=True)
            path.rename(moved)
    for sample in source(mini, tmp_path, split=split)():
        assert np.array_equal(sample.truth(), truths[sample.name])
    with pytest.raises(ComponentError, match=r"\.split: "):
        source(mini, tmp_path, split="minival")


def test_a_part_of_the_pictures(tmp_path):
    mini = of("cityscapes-27")
    mini.write(tmp_path)
    names = [name.rpartition("/")[2] for name in CITY]

    def listed(**keys):
        return [sample.name for sample in source(mini, tmp_path, **keys)()]

    assert listed(count=2) == names[:2]
    assert listed(start=1) == names[1:]
    assert listed(start=1, count=1) == names[1:2]
    assert listed(start=2, count=9) == names[2:]
    with pytest.raises(ImageError, match=r"start must be below the number of pictures, 3\. Got 3"):
        listed(start=3)
    for keys in ({"count": 0}, {"start": -1}):
        with pytest.raises(ComponentError):
            listed(**keys)


def test_the_home_directory_and_a_folder_without_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    mini = of("ade20k")
    mini.write(tmp_path / "data")
    assert len(source(mini, "~/data")()) == 3
    for path in tmp_path.rglob("*.jpg"):
        path.unlink()
    with pytest.raises(ImageError, match="images/validation: no pictures in this folder"):
        source(mini, "~/data")()


def test_a_folder_that_may_not_be_read(unprivileged):
    mini = of("coco-stuff-27")
    with tempfile.TemporaryDirectory() as folder:  # below folders that anybody may enter
        root = Path(folder)
        root.chmod(0o755)
        mini.write(root / "coco")
        for locked, sentence in (
            ("coco/val2017", f"{root}/coco/val2017: can't be searched: Permission denied"),
            ("coco", f"{root}/coco/val2017: can't be read: Permission denied"),
            (".", f"{root}/coco: can't be read: Permission denied"),
        ):
            (root / locked).chmod(0)
            with unprivileged(), pytest.raises(ImageError) as caught:
                source(mini, root / "coco")()
            assert str(caught.value) == sentence


@pytest.mark.parametrize("use", ["coco-stuff-27", "cityscapes-27", "pascal-voc"])
def test_five_thousand_pictures_are_listed_at_once_and_none_is_read(use, tmp_path):
    mini = of(use)
    folder, _, name = mini.names[0].rpartition("/")
    names = [f"{folder}/{name[:-4]}{i:04d}".lstrip("/") for i in range(5000)]
    for pattern in (mini.picture, mini.label):
        (tmp_path / pattern.format(names[0])).parent.mkdir(parents=True)
    for each in names:  # Empty, so that reading any of them would fail.
        (tmp_path / mini.picture.format(each)).touch()
    if mini.listed:
        (tmp_path / mini.listed).parent.mkdir(parents=True)
        (tmp_path / mini.listed).write_text("\n".join(names))
    start = time.process_time()  # the processor's own, so that other processes don't count
    samples = source(mini, tmp_path)()
    assert time.process_time() - start < 2
    assert len(samples) == 5000
    with pytest.raises(ImageError):
        samples[-1].read()
