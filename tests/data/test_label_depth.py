"""The numbers of label files of any depth, and which of them is void."""

import io
import struct
import zlib

import datasets
import numpy as np
import pytest
from PIL import Image

from attnprobe.data.folder import Folder
from attnprobe.data.hf import HuggingFace
from attnprobe.data.table import plain_labels
from attnprobe.data.truths import read_truth
from attnprobe.errors import ImageError
from attnprobe.evaluate.predictions import read_prediction
from attnprobe.pictures.labels import load_labels

any_labels = plain_labels(None)


def png(numbers: np.ndarray, bits: int, indexed: bool) -> bytes:
    """A PNG by hand, for Pillow writes no grey of 2 and 4 bits."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    rows = b""
    for row in numbers:
        text = "".join(format(int(number), f"0{bits}b") for number in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
    size = numbers.shape[::-1]
    header = struct.pack(">IIBBBBB", *size, bits, 3 if indexed else 0, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(3 * 2 ** min(bits, 8))) if indexed else b""
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + body


DEPTHS = [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (1, 1), (2, 1), (4, 1), (8, 1)]


@pytest.mark.parametrize(("bits", "indexed"), DEPTHS)
def test_the_file_s_own_numbers(tmp_path, bits, indexed):
    numbers = np.arange(35 * 9).reshape(9, 35) * (218 if bits == 16 else 1) % 2**bits
    void = 2**bits - 1 if bits >= 8 else None
    numbers[0, 0] = 2**bits - 1
    want = np.where(numbers == void, -1, numbers)
    (tmp_path / "labels").mkdir()
    label, picture = tmp_path / "labels/a.png", tmp_path / "a.png"
    label.write_bytes(png(numbers, bits, bool(indexed)))
    Image.new("RGB", (35, 9)).save(picture)
    (sample,) = Folder(str(picture), labels=str(tmp_path / "labels"))()
    assert np.array_equal(sample.truth(), want)
    assert np.array_equal(load_labels(label), numbers)
    assert np.array_equal(read_prediction(label), numbers)
    cells = {"image": picture.read_bytes(), "label": label.read_bytes()}
    features = datasets.Features({name: datasets.Image() for name in cells})
    row = {name: {"bytes": content, "path": None} for name, content in cells.items()}
    datasets.disable_progress_bars()
    datasets.Dataset.from_list([row], features=features).to_parquet(tmp_path / "test.parquet")
    (sample,) = HuggingFace(str(tmp_path), split="test")()
    assert np.array_equal(sample.truth(), want)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_tiff(tmp_path, kind, compression):
    """As the library datasets stores labels of 16 bits."""
    most = np.iinfo(kind).max
    numbers = np.array([[0, 1, 200, most]], kind)
    Image.fromarray(numbers).save(tmp_path / "a.tif", compression=compression)
    Image.new("RGB", (4, 1)).save(tmp_path / "a.png")
    truth = read_truth(tmp_path / "a.png", tmp_path / "a.tif", any_labels)
    assert truth.tolist() == [[0, 1, 200, -1]]


def changed(form: str, mode: str = "L", **options) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (4, 3), 1).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (changed("JPEG"), "must be a PNG or TIFF picture. Got JPEG"),
        (changed("GIF"), "must be a PNG or TIFF picture. Got GIF"),
        (b"P5 2 1 15\n\x01\x0f", "must be a PNG or TIFF picture. Got PPM"),
        (changed("TIFF", compression="jpeg"), "Got a TIFF that stores them as jpeg"),
        (changed("TIFF", "I"), "of 1, 2, 4, 8 or 16 bits. Got a TIFF that stores them as I;32"),
        (changed("TIFF", tiffinfo={262: 0}), "stores them as white is zero"),
    ],
)
def test_files_that_do_not_keep_their_numbers(tmp_path, content, why):
    (tmp_path / "label.png").write_bytes(content)
    Image.new("RGB", (4, 3)).save(tmp_path / "picture.png")
    with pytest.raises(ImageError) as caught:
        read_truth(tmp_path / "picture.png", tmp_path / "label.png", any_labels)
    assert why in str(caught.value)
