import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from attnprobe.errors import ImageError
from attnprobe.files import printable
from attnprobe.pictures.reading import IMAGE_SUFFIXES, MAX_PIXELS, _rgb, read_image


@pytest.fixture(autouse=True)
def no_warning():
    """Nothing that Pillow warns of may reach the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def read(path):
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image).tolist()


def png(width, height, depth, colour, rows, *extra):
    """A PNG by hand, for what Pillow doesn't write; extra chunks go before the pixels."""

    def chunk(name, data):
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in chunks)


@pytest.fixture
def picture(tmp_path):
    """A gradient with an edge, whose halves and corners all differ: 48×32."""
    y, x = np.mgrid[:32, :48]
    pixels = np.stack([5 * x, 8 * y, np.where(x < 20, 200, 30)], -1).astype(np.uint8)
    return Image.fromarray(pixels)


# What is stored, and what it must look like.


@pytest.mark.parametrize(
    ("mode", "stored", "shown"),
    [
        ("1", 255, (255, 255, 255)),
        ("L", 70, (70, 70, 70)),
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("LA", (0, 255), (0, 0, 0)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (0, 51), (204, 204, 204)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 51), (255, 204, 204)),
    ],
)
def test_modes_of_png(tmp_path, mode, stored, shown):
    path = tmp_path / "a.png"
    Image.new(mode, (2, 1), stored).save(path)
    assert read(path) == [[list(shown)] * 2]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (np.uint16([[0, 128, 129, 257, 32896, 65535]]), [0, 0, 1, 1, 128, 255]),
        (np.array([[0, 129, 65535]], ">u2"), [0, 1, 255]),
        (np.int32([[0, 129, 65535]]), [0, 1, 255]),
        (np.float32([[0, 0.5, 1]]), [0, 128, 255]),
        (np.float32([[0, 0.5, 1, 127.4, 255]]), [0, 1, 1, 127, 255]),
    ],
)
def test_deep_grey_is_scaled_by_its_range(tmp_path, values, shown):
    path = tmp_path / "a.tif"
    Image.fromarray(values).save(path)
    assert read(path) == [[[v, v, v] for v in shown]]


def test_grey_png_of_16_bits(tmp_path):
    path = tmp_path / "a.png"
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(path)
    shown = np.asarray(read_image(path))
    assert np.array_equal(shown[..., 0], np.rint(values / 257))
    assert (shown == shown[..., :1]).all()


def test_pgm_of_16_bits_and_of_12(tmp_path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 2 1 65535\n" + struct.pack(">2H", 65535, 257))
    assert read(path) == [[[255] * 3, [1] * 3]]
    path.write_bytes(b"P5 2 1 4095\n" + struct.pack(">2H", 4095, 0))
    assert read(path) == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("values", [np.int32([[0, 65536]]), np.int32([[-1, 5]])])
def test_whole_numbers_beyond_16_bits_are_refused(tmp_path, values):
    path = tmp_path / "a.tif"
    Image.fromarray(values).save(path)
    with pytest.raises(ImageError, match=r"a\.tif: values in mode I must be from 0 to 65535"):
        read_image(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 256.0])
def test_floats_out_of_range_are_refused(tmp_path, value):
    path = tmp_path / "a.tif"
    Image.fromarray(np.float32([[0, value]])).save(path)
    with pytest.raises(ImageError, match=r"a\.tif: values in mode F must be from 0 to"):
        read_image(path)


def test_colour_png_of_16_bits_keeps_the_high_byte(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, 16, 2, b"\0" + struct.pack(">6H", 65535, 256, 255, 0, 32768, 1)))
    assert read(path) == [[[255, 1, 0], [0, 128, 0]]]


def test_colour_png_of_16_bits_with_alpha_lies_over_white(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, 16, 6, b"\0" + struct.pack(">8H", 0, 0, 0, 65535, 0, 0, 0, 0)))
    assert read(path) == [[[0] * 3, [255] * 3]]


def test_transparent_value_of_a_png(tmp_path):
    """tRNS names one value as transparent: in grey of 8 and 16 bits and in colour."""
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, 8, 0, b"\0\x07\x09", (b"tRNS", b"\0\x07")))
    assert read(path) == [[[255] * 3, [9] * 3]]
    path.write_bytes(png(2, 1, 16, 0, b"\0\x01\x02\x01\x01", (b"tRNS", b"\x01\x02")))
    assert read(path) == [[[255] * 3, [1] * 3]]
    path.write_bytes(png(2, 1, 8, 2, b"\0\1\2\3\1\2\4", (b"tRNS", b"\0\1\0\2\0\3")))
    assert read(path) == [[[255] * 3, [1, 2, 4]]]


@pytest.mark.parametrize(
    ("alpha", "first", "second"),
    [
        (b"", (255, 0, 0), (0, 255, 0)),
        (b"\0", (255, 255, 255), (0, 255, 0)),
        (b"\x33\xff", (255, 204, 204), (0, 255, 0)),
    ],
)
def test_palette_with_and_without_transparency(tmp_path, alpha, first, second):
    path = tmp_path / "a.png"
    extra = [(b"PLTE", b"\xff\0\0\0\xff\0")] + ([(b"tRNS", alpha)] if alpha else [])
    path.write_bytes(png(2, 1, 8, 3, b"\0\0\1", *extra))
    assert read(path) == [[list(first), list(second)]]


def test_palette_with_an_alpha_of_its_own(tmp_path):
    path = tmp_path / "a.tif"
    image = Image.new("P", (1, 1), 0)
    image.putpalette([10, 20, 30])
    image.convert("PA").save(path)
    assert read(path) == [[[10, 20, 30]]]


def test_premultiplied_grey():
    """From TIFF, where Pillow is new enough to read it; a fifth covered by a grey of 30 · 5."""
    assert _rgb(Image.new("La", (1, 1), (30, 51))).getpixel((0, 0)) == (204 + 30,) * 3


@pytest.mark.parametrize(
    ("ink", "shown"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
    ],
)
def test_cmyk(tmp_path, ink, shown):
    image = Image.new("CMYK", (16, 16), ink)
    image.save(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif")[8][8] == list(shown)
    image.save(tmp_path / "a.jpg", quality=100)  # Pillow writes it inverted, as Adobe does.
    assert b"Adobe" in (tmp_path / "a.jpg").read_bytes()
    assert np.abs(np.subtract(read(tmp_path / "a.jpg")[8][8], shown)).max() <= 2


UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_every_orientation(tmp_path, picture, suffix, orientation):
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    with Image.open(path) as stored:
        stored_pixels = np.asarray(picture) if suffix == ".tif" else np.asarray(stored)
    assert np.array_equal(np.asarray(read_image(path)), UPRIGHT[orientation](stored_pixels))


def test_a_picture_with_broken_exif_is_read(tmp_path, picture):
    for number, exif in enumerate([b"Exif\0\0II*\0", b"Exif\0\0nonsense", b"MM\0*\0\0\0\x08\xff"]):
        path = tmp_path / f"{number}.jpg"
        picture.save(path, exif=exif)
        assert read_image(path).size == picture.size


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".gif", {}), (".png", {}), (".webp", {"lossless": True}), (".tif", {})],
)
def test_the_first_picture_of_many(tmp_path, suffix, options):
    path = tmp_path / f"a{suffix}"
    first, second = (Image.new("RGB", (4, 3), colour) for colour in ("red", "blue"))
    first.save(path, save_all=True, append_images=[second], **options)
    assert read(path) == [[[255, 0, 0]] * 4] * 3


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_thin_pictures_in_every_format(tmp_path, suffix, size):
    path = tmp_path / f"a{suffix}"
    Image.new("1" if suffix == ".pbm" else "L", size, 255).save(path)
    image = read_image(path)
    assert image.size == size
    assert np.asarray(image).min() >= 250


def test_progressive_jpeg(tmp_path, picture):
    picture.save(tmp_path / "plain.jpg", quality=95)
    picture.save(tmp_path / "progressive.jpg", quality=95, progressive=True)
    assert read(tmp_path / "plain.jpg") == read(tmp_path / "progressive.jpg")


@pytest.mark.parametrize(
    "name",
    [
        "UPPER.JPG",
        "two words.png",
        "Zürich 東京 🦊.png",
        "a[1].jpg",
        "*.png",
        "-x.png",
        "png",
        "a.jpg",
    ],
)
def test_names(tmp_path, picture, name):
    picture.save(tmp_path / name, "PNG")  # The content decides, whatever the suffix says.
    assert np.array_equal(np.asarray(read_image(str(tmp_path / name))), np.asarray(picture))


def test_hundred_megapixels(tmp_path):
    path = tmp_path / "large.png"
    Image.new("L", (10_000, 10_000), 9).save(path, compress_level=1)
    image = read_image(path)
    assert (image.mode, image.size) == ("RGB", (10_000, 10_000))
    assert image.getpixel((9_999, 9_999)) == (9, 9, 9)


# What can't be read.


def refused(path, *words):
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(f"{printable(path)}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("limit", [Image.MAX_IMAGE_PIXELS, None])
def test_too_many_pixels(tmp_path, monkeypatch, limit):
    """Refused from the header alone, whatever bound another library has set in Pillow."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    path = tmp_path / "a.png"
    path.write_bytes(png(14_000, 13_000, 8, 0, b""))
    assert MAX_PIXELS < 182_000_000
    refused(path, "182,000,000 pixels", "at most 178,956,970")


def test_what_is_no_picture(tmp_path):
    refused(tmp_path / "missing.jpg", "No such file")
    refused(tmp_path, "a folder")
    (tmp_path / "text.jpg").write_text("not a picture")
    refused(tmp_path / "text.jpg", "not a picture of a known format", "JPEG, PNG")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "not a picture")
    (tmp_path / "drawing.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    refused(tmp_path / "drawing.png", "not a picture")
    refused(tmp_path / "text.jpg" / "a.jpg", "Not a directory")
    refused(tmp_path / ("a" * 300 + ".jpg"), "too long")
    refused(tmp_path / "a\0.jpg", "null")
    os.mkfifo(tmp_path / "pipe.jpg")
    refused(tmp_path / "pipe.jpg", "not a regular file")
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    refused(tmp_path / "circle.jpg", "symbolic links")


def test_no_permission(tmp_path, picture, unprivileged):
    path = tmp_path / "a.png"
    picture.save(path)
    path.chmod(0)
    with unprivileged():
        refused(path, "Permission denied")


def test_a_name_that_is_no_text(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert str(caught.value).encode().endswith(b"/?.jpg: can't be read: No such file or directory")


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("WEBP", {})],
)
def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path, picture, kind, options):
    """No half grey picture: a beginning of a file fails, or has every pixel and lacks a trailer."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    content, path = file.getvalue(), tmp_path / "cut"
    path.write_bytes(content)
    whole = read(path)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        try:
            assert read(path) == whole
            assert length >= len(content) - 20  # PNG: a checksum or two, and IEND.
        except ImageError:
            refused(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_damaged_files_never_raise_anything_else(tmp_path, picture, kind):
    file = io.BytesIO()
    picture.save(file, kind)
    rng, path = np.random.default_rng(0), tmp_path / "damaged"
    for _ in range(60):
        content = np.frombuffer(file.getvalue(), np.uint8).copy()
        content[rng.integers(len(content), size=4)] = rng.integers(256, size=4)
        path.write_bytes(content.tobytes())
        try:
            assert read_image(path).mode == "RGB"
        except ImageError:
            refused(path)
