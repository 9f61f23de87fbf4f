"""On a dataset that the tests save as parquet, and that `datasets` itself then streams."""

import io
import os
import pickle
import subprocess
import sys

import datasets
import numpy as np
import pytest
from PIL import Image

from attnprobe.data.hf import HuggingFace, _rows
from attnprobe.errors import ComponentError, ImageError
from attnprobe.testing import check_source

ROWS = 9


def stored(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def row(number):
    rng = np.random.default_rng(number)
    picture = rng.integers(0, 256, (11, 5 + number, 3), dtype=np.uint8)
    return picture, rng.choice([0, 1, 2, 255], picture.shape[:2]).astype(np.uint8)


FEATURES = datasets.Features(
    {"number": datasets.Value("int64"), "image": datasets.Image(), "label": datasets.Image()}
)


def save(rows, path):
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(rows, features=FEATURES).to_parquet(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine rows in two files; of another split one row with faults of every kind."""
    folder = tmp_path_factory.mktemp("tiny-streets")
    rows = [
        {"number": n, "image": stored(row(n)[0]), "label": stored(row(n)[1])} for n in range(ROWS)
    ]
    save(rows[:4], folder / "validation-00000-of-00002.parquet")
    save(rows[4:], folder / "validation-00001-of-00002.parquet")
    picture, label = row(0)
    faults = [
        (stored(picture), stored(label[:-1])),
        (stored(picture), stored(picture)),
        (stored(picture), {"bytes": b"no picture", "path": None}),
        ({"bytes": b"no picture", "path": None}, stored(label)),
        (stored(picture), stored(np.full_like(label, 7))),
        (stored(picture), stored(label)),
    ]
    save([{"number": 0, "image": i, "label": t} for i, t in faults], folder / "test.parquet")
    return str(folder)


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def test_rows_in_order_backwards_and_again(folder):
    samples = HuggingFace(folder)()
    assert [sample.name for sample in samples] == [
        f"{os.path.basename(folder)}-validation-{n:06d}" for n in range(ROWS)
    ]
    for number in [*range(ROWS), *reversed(range(ROWS)), 3, 3, 5]:
        picture, label = row(number)
        sample = samples[number]
        assert np.array_equal(sample.read(), picture)
        truth = sample.truth()
        assert truth.dtype == np.int32
        assert np.array_equal(truth, np.where(label == 255, -1, label.astype(int)))
        assert sample.where == f"{folder}, validation, row {number}"


def test_the_contract_of_sources(folder):
    check_source(HuggingFace(folder))
    check_source(HuggingFace(folder, names=["sky", "sea", "sand"], count=2))


def test_a_part_of_the_rows_without_labels(folder):
    samples = HuggingFace(folder, label=None, start=7, count=5)()
    assert [sample.name[-1] for sample in samples] == ["7", "8"]
    assert np.array_equal(samples[1].read(), row(8)[0])
    assert samples[1].truth() is None
    sent = pickle.loads(pickle.dumps(HuggingFace(folder, start=2, count=1)()[0]))
    assert np.array_equal(sent.read(), row(2)[0])
    with pytest.raises(ImageError, match=r"start must be below the 9 rows\. Got 9 instead"):
        HuggingFace(folder, start=9)()


def test_names_are_classes_and_bound_the_labels(folder):
    assert HuggingFace(folder).classes is None
    source = HuggingFace(folder, names=["sky", "sea", "sand"])
    assert source.classes.names == ("sky", "sea", "sand")
    assert source()[0].truth().max() == 2
    with pytest.raises(ImageError, match=r"row 0: labels must be among 0-1 255\. Got 2 instead"):
        HuggingFace(folder, names=["sky", "sea"])()[0].truth()
    with pytest.raises(ComponentError, match=r"HuggingFace\.names"):
        HuggingFace(folder, names=["sky"], label=None)


def test_a_fault_is_its_own_row_s(folder):
    samples = HuggingFace(folder, split="test", names=["sky", "sea", "sand"])()
    for number, sentence in enumerate([
        "labels must have their picture's size, 5×11. Got 5×10 instead.",
        "labels must be an indexed or grey picture. Got mode RGB",
        "not a picture of a known format",
        "not a picture of a known format",
        "labels must be among 0-2 255. Got 7 instead, at 55 of 55 pixels.",
    ]):  # fmt: skip
        with pytest.raises(ImageError) as caught:
            samples[number].truth()
        assert str(caught.value).startswith(f"{folder}, test, row {number}: {sentence}")
        if number != 3:
            assert samples[number].read().size == (5, 11)
    with pytest.raises(ImageError, match="row 3: not a picture"):
        samples[3].read()
    assert samples[5].truth().max() == 2


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"split": "train"}, "can't be opened: Bad split: train. Available splits: ["),
        ({"image": "picture"}, "'picture' is no column of pictures; these are: image, label"),
        ({"label": "number"}, "'number' is no column of pictures; these are: image, label"),
        ({"config": "none"}, "can't be opened: BuilderConfig 'none' not found"),
    ],
)
def test_what_is_not_there(folder, keys, sentence):
    with pytest.raises(ImageError) as caught:
        HuggingFace(folder, **keys)()
    assert str(caught.value).startswith(f"{folder}, ")
    assert sentence in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_no_such_dataset(tmp_path):
    with pytest.raises(ImageError, match="nowhere, validation: can't be opened: Couldn't find"):
        HuggingFace(str(tmp_path / "nowhere"))()


def test_rows_that_nobody_has_counted(tmp_path):
    for name in ("a", "b"):
        path = tmp_path / "validation" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 3)).save(path)
    with pytest.raises(ImageError, match="how many rows there are isn't known beforehand; give co"):
        HuggingFace(str(tmp_path), label=None)()
    *samples, beyond = HuggingFace(str(tmp_path), label=None, count=3)()
    assert [sample.read().size for sample in samples] == [(4, 3), (4, 3)]
    for _ in range(2):
        with pytest.raises(ImageError, match="row 2: there is no such row"):
            beyond.read()
    assert samples[0].read().size == (4, 3)


def test_five_thousand_rows_are_listed_without_reading_one(tmp_path):
    empty = {"bytes": b"", "path": None}
    save([{"number": 0, "image": empty, "label": empty}] * 5000, tmp_path / "train.parquet")
    source = HuggingFace(str(tmp_path), split="train")
    assert len(source()) == 5000
    assert list(_rows(source)._rest) == []
    with pytest.raises(ImageError, match="row 2: not a picture"):
        source()[2].read()
    assert _rows(source)._number == 2


def test_pipes_are_told_and_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    stored_elsewhere = {"bytes": None, "path": str(tmp_path / "pipe.png")}
    folder = tmp_path / "rows"
    folder.mkdir()
    save([{"number": 0, "image": stored_elsewhere, "label": None}], folder / "validation.parquet")
    with pytest.raises(ImageError, match="row 0: can't be read: not a regular file"):
        HuggingFace(str(folder), label=None)()[0].read()
    os.mkfifo(folder / "validation-2.parquet")
    with pytest.raises(ImageError, match=r"can't be opened: .*not a regular file.*validation-2"):
        HuggingFace(str(folder), label=None, count=1)()


def test_without_the_package(folder):
    code = (
        "import sys; sys.modules['datasets'] = None\n"
        "from attnprobe.data.hf import HuggingFace\n"
        "from attnprobe.errors import ImageError\n"
        "try: HuggingFace('org/name')()\n"
        "except ImageError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == (
        "org/name, validation: the source hf needs datasets, which isn't installed: "
        "pip install 'attnprobe[data]'\n"
    )


def test_python_ends_quietly_with_a_stream_half_read(folder):
    code = (
        "from attnprobe.data.hf import HuggingFace\n"
        f"print(HuggingFace({folder!r})()[1].read().size)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(6, 11)\n"
    assert done.stderr == ""
