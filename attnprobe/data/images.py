"""Pictures from files: whatever was stored, an upright 8-bit RGB picture or one clear sentence."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from attnprobe.errors import ImageError
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
    from 0 to 1 if all are within it, else from 0 to 255.

    Raises:
        ImageError: no such file, no permission, no picture, a broken or truncated one, or more
            pixels than `MAX_PIXELS`.
    """
    with opened(path) as image:
        return upright_rgb(image)


def upright_rgb(image: Image.Image) -> Image.Image:
    """A picture that was opened, as `read_image` gives it."""
    with suppress(Exception):  # A broken EXIF block says nothing against the pixels.
        ImageOps.exif_transpose(image, in_place=True)
    return _rgb(image)


def picture_size(path: str | Path) -> tuple[int, int]:
    """Height and width of a file's upright picture, mostly from its first bytes alone.

    Raises:
        ImageError: no such file, or no picture.
    """
    with naming(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(regular(path), formats=tuple(FORMATS)) as image:
            turned = False
            if "exif" in image.info:
                with suppress(Exception):
                    turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """Open a picture and load its pixels as they are stored; a fault is an ImageError.

    So is a fault in the block, whose ImageErrors need not name the path.
    """
    with naming(path):
        if Path(path).is_dir():
            raise ImageError("a folder, where a picture is wanted")
        regular(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=tuple(FORMATS)) as image:
                _check_pixels(image.width * image.height)
                image.load()
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
        case ImageError():
            return str(error)
        case Image.UnidentifiedImageError():
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
    low, high = values.min(), values.max()  # NaN, where there is one.
    top = 65535 if values.dtype.kind in "iu" else 1 if high <= 1 else 255
    if not (low >= 0 and high <= top):
        raise ImageError(
            f"values in mode {image.mode} must be from 0 to {top}. Got {low} to {high} instead."
        )
    levels = (values * np.float32(255 / top) + np.float32(0.5)).astype(np.uint8)
    if "transparency" in image.info:
        levels[values == image.info["transparency"]] = 255
    return Image.fromarray(levels)
