"""Pictures from files, arrays and PIL images: whatever was stored, an upright 8-bit RGB picture or
one clear sentence."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from attnprobe.errors import AttnProbeError, ImageError
from attnprobe.files import printable, regular

#: Formats that are read, with the suffixes a folder is searched for; a file's content decides.
FORMATS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
IMAGE_SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)

#: Pillow's own bound: it takes a larger picture for a decompression bomb.
MAX_PIXELS = 178_956_970


def read_image(path: str | Path) -> Image.Image:
    """Read a picture, upright and in mode RGB.

    EXIF orientation is applied, transparency is laid over white, and of an animation or of many
    pages the first picture is read. Grey of 16 bits is scaled by its type's range, so that 65535
    becomes 255; whole numbers of 32 bits likewise, if they keep to that range. Floats are taken
    from 0 to 1 if all are within it, else from 0 to 255. Colours of 16 bits keep their high byte.

    Raises:
        ImageError: no such file, no permission, no picture, a broken or truncated one, or more
            pixels than `MAX_PIXELS`.

    Examples:
        >>> ap.read_image("photo.jpg").size  # width and height, as Pillow has them
        (320, 213)
    """
    with opened(path) as image:
        return upright_rgb(image)


def upright_rgb(image: Image.Image) -> Image.Image:
    """A PIL image as `read_image` gives it; it stays as it is, and may be the answer itself.

    Raises:
        ImageError: it has no pixels, too many, or values out of range.
    """
    _check_pixels(image.width * image.height)
    image.load()
    with suppress(Exception):  # A broken EXIF block says nothing against the pixels.
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            image = ImageOps.exif_transpose(image)
    return _rgb(image)


def array_rgb(values: np.ndarray) -> Image.Image:
    """An array as `read_image` gives a file of its numbers.

    Args:
        values: (H, W) or (H, W, 1) grey, (H, W, 2) with transparency, (H, W, 3) colours or
            (H, W, 4) with transparency; bool, uint8, uint16, int32 or float.

    Raises:
        ImageError: it is of another shape or type, has no pixels, too many, or values out of range.
    """
    kind, shape = values.dtype, values.shape
    if kind.name not in _ARRAYS or not (
        values.ndim == 2 or (values.ndim == 3 and shape[2] in _MODES)
    ):
        raise ImageError(
            "an image array must be (H, W) or (H, W, 1 to 4), of bool, uint8, uint16, int32 or "
            f"float. Got {kind} {shape} instead."
        )
    _check_pixels(shape[0] * shape[1])
    channels = shape[2] if values.ndim == 3 else 1
    if kind.kind == "b":
        levels = values.astype(np.uint8) * np.uint8(255)
    elif kind == np.uint8:
        levels = values
    elif kind == np.uint16 and channels > 1:  # as Pillow reads files of colours
        levels = (values >> 8).astype(np.uint8)
    else:
        levels = _levels(values, f"of {kind}")
    if channels == 1:
        levels = levels.reshape(shape[:2])
    return _rgb(Image.fromarray(np.ascontiguousarray(levels), _MODES[channels]))


_ARRAYS = ("bool", "uint8", "uint16", "int32", "float16", "float32", "float64")
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Modes of pictures by their channels."""


def picture_size(path: str | Path) -> tuple[int, int]:
    """Height and width of a file's upright picture, mostly from its first bytes alone.

    Raises:
        ImageError: no such file, or no picture.
    """
    with naming(path), decoded(regular(path)) as image:
        return upright_size(image)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width of a picture that was opened, as its EXIF block turns it."""
    turned = False
    if "exif" in image.info:
        with suppress(Exception):
            turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    return (image.width, image.height) if turned else (image.height, image.width)


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """Open a picture's file, its pixels not yet loaded; a fault is an ImageError.

    So is a fault in the block, whose ImageErrors need not name the path.
    """
    with naming(path):
        if Path(path).is_dir():
            raise ImageError("a folder, where a picture is wanted")
        with decoded(regular(path)) as image:
            yield image


@contextmanager
def decoded(file: str | Path | BinaryIO) -> Iterator[Image.Image]:
    """A picture in a file or in bytes, of a format that is read and of no more than `MAX_PIXELS`.

    Its pixels are not yet loaded. Faults are Pillow's; `naming` makes ImageErrors of them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(file, formats=tuple(FORMATS)) as image:
            _check_pixels(image.width * image.height)
            yield image


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Turn any fault of the block into an ImageError that names the path."""
    try:
        yield
    except Exception as error:  # On broken files Pillow's readers raise errors of every kind.
        raise ImageError(f"{printable(path)}: {_fault(error)}") from error


def _fault(error: Exception) -> str:
    match error:
        case AttnProbeError():
            return str(error)
        case UnidentifiedImageError():
            return f"not a picture of a known format; allowed: {', '.join(FORMATS)}"
        case Image.DecompressionBombError():
            return _too_many(int(re.findall(r"\d+", str(error))[0]))
        case OSError(strerror=str(reason)):
            return f"can't be read: {reason}"
    return f"broken or truncated: {str(error) or type(error).__name__}"


def _too_many(pixels: int) -> str:
    return f"{pixels:,} pixels are too many; at most {MAX_PIXELS:,} are read"


def _check_pixels(pixels: int) -> None:
    if pixels > MAX_PIXELS:
        raise ImageError(_too_many(pixels))
    if pixels < 1:
        raise ImageError("a picture without pixels")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _grey(image)
    if image.has_transparency_data:
        if image.mode == "La":  # Pillow knows only this way on.
            image = image.convert("LA")
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or of floats, in mode L."""
    values = np.asarray(image)
    levels = _levels(values, f"in mode {image.mode}")
    if "transparency" in image.info:
        levels[values == image.info["transparency"]] = 255
    return Image.fromarray(levels)


def _levels(values: np.ndarray, said: str) -> np.ndarray:
    """Whole numbers from 0 to 65535, or floats from 0 to 1 or to 255, as uint8."""
    low, high = values.min(), values.max()  # NaN, where there is one.
    top = 65535 if values.dtype.kind in "iu" else 1 if high <= 1 else 255
    if not (low >= 0 and high <= top):
        raise ImageError(f"values {said} must be from 0 to {top}. Got {low} to {high} instead.")
    return (values * np.float32(255 / top) + np.float32(0.5)).astype(np.uint8)
