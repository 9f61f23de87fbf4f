"""A file, a PIL image, an array and a dataset's row of the same numbers are the same picture."""

import io

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attnprobe.data.hf import HuggingFace
from attnprobe.pictures.reading import read_image
from attnprobe.pipeline import as_image


def pictures() -> dict[str, Image.Image]:
    """One of each form, 6×4."""
    rng = np.random.default_rng(0)
    bytes_ = rng.integers(0, 256, (4, 6, 4), dtype=np.uint8)
    deep = rng.integers(0, 65536, (4, 6))
    return {
        "bits": Image.fromarray(deep > 30000),
        "grey": Image.fromarray(bytes_[..., 0]),
        "grey-transparent": Image.fromarray(bytes_[..., :2], "LA"),
        "colours": Image.fromarray(bytes_[..., :3]),
        "transparent": Image.fromarray(bytes_),
        "deep": Image.fromarray(deep.astype(np.uint16)),
        "whole": Image.fromarray(deep.astype(np.int32)),
        "share": Image.fromarray((deep / 65535).astype(np.float32)),
        "float": Image.fromarray((deep / 300).astype(np.float32)),
    }


def written(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "TIFF" if image.mode in ("I", "F") else "PNG", **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", pictures())
def test_every_form(tmp_path, kind):
    stored = pictures()[kind]
    path = tmp_path / "a.png"
    path.write_bytes(written(stored))
    want = np.asarray(read_image(path))
    with Image.open(path) as image:
        array, given = np.asarray(image), as_image(image)
    assert given.mode == "RGB"
    assert np.array_equal(np.asarray(given), want)
    assert np.array_equal(np.asarray(as_image(stored)), want)
    assert np.array_equal(np.asarray(as_image(array)), want)
    assert np.array_equal(np.asarray(as_image(as_image(given))), want)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    path.write_bytes(written(pictures()["colours"], exif=exif))
    want = np.asarray(read_image(path))
    with Image.open(path) as image:
        before = image.tobytes()
        given = as_image(image)
        assert image.tobytes() == before  # what is the user's stays as it is
    assert np.array_equal(np.asarray(given), want)
    assert np.array_equal(np.asarray(as_image(given)), want)  # upright once is upright


def test_rows_of_a_dataset(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = [written(each) for each in pictures().values()]
    stored.append(written(pictures()["colours"], exif=exif))
    features = datasets.Features({"image": datasets.Image()})
    rows = [{"image": {"bytes": content, "path": None}} for content in stored]
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "test.parquet")
    samples = HuggingFace(str(tmp_path), split="test", label=None)()
    for sample, content in zip(samples, stored, strict=True):
        (tmp_path / "a.png").write_bytes(content)
        assert np.array_equal(np.asarray(sample.read()), np.asarray(read_image(tmp_path / "a.png")))


@settings(deadline=None)
@given(st.integers(1, 4), st.sampled_from(["u1", "f2", "f4", "f8"]), st.integers(0, 9))
def test_floats_are_the_numbers_of_8_bits(channels, kind, seed):
    """From 0 to 1 or to 255; shares of float16 are a level off at most."""
    shape = (3, 5, channels)
    levels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    levels[0, 0] = 255
    want = np.asarray(as_image(levels)).astype(int)
    assert np.array_equal(np.asarray(as_image(levels.astype(kind))), want)
    if kind != "u1":
        near = np.abs(np.asarray(as_image((levels / 255).astype(kind))) - want).max()
        assert near <= (1 if kind == "f2" else 0)


def test_colours_of_16_bits_keep_their_high_byte_as_files_do():
    deep = np.uint16([[[65535, 256, 255], [0, 32768, 1]]])
    assert np.asarray(as_image(deep)).tolist() == [[[255, 1, 0], [0, 128, 0]]]
