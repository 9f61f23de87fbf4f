"""Your own images: files, patterns and folders."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen
from pydantic import BeforeValidator

from attnprobe.data.base import Sample, no_truth
from attnprobe.data.images import IMAGE_SUFFIXES, printable, read_image
from attnprobe.errors import ImageError
from attnprobe.registry import source


def _as_text(path: Any) -> Any:
    return str(path) if isinstance(path, Path) else path


PathText = Annotated[str, MinLen(1), BeforeValidator(_as_text)]


@source("folder")
@dataclass(frozen=True)
class Folder:
    """Your own images: a file, a pattern such as photos/**/*.jpg, a folder, or a list of these.

    A folder is searched with all below it, links followed (a pattern's ** follows none). Hidden
    files and those without a picture's suffix are passed over. The order is the natural one, 2.jpg
    before 10.jpg. As much of a path as exists is taken literally, so that brackets in a file's
    name make no pattern. Relative paths start at the working directory, ~ is the home directory.

    Args:
        path: a file, pattern or folder, or a list of these.
    """

    path: PathText | Annotated[tuple[PathText, ...], MinLen(1)]

    def __call__(self) -> Sequence[Sample]:
        """List the images; raises ImageError where there are none."""
        given = (self.path,) if isinstance(self.path, str) else self.path
        bases, found = zip(*map(_found, given), strict=True)
        files = list(dict.fromkeys(file for files in found for file in files))
        return [
            Sample(name, partial(read_image, file), no_truth, printable(file))
            for name, file in zip(_names(files, bases), files, strict=True)
        ]


def _found(given: str) -> tuple[Path, list[Path]]:
    """The folder that `given` starts from, and its images in natural order."""
    path = base = Path(os.path.expanduser(given)).absolute()
    if os.path.isfile(path):
        return path.parent, [path]
    while not os.path.exists(base):
        base = base.parent
    try:
        files = _walked(base) if base == path else _matched(base, path.relative_to(base))
        images = sorted({file for file in files if _is_image(file)}, key=_natural)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{printable(given)}: can't be searched: {reason}") from error
    if not images:
        fault = "no images in this folder" if base == path else "no such file, nor any that matches"
        raise ImageError(f"{printable(given)}: {fault}; allowed: {' '.join(IMAGE_SUFFIXES)}")
    return base, images


def _walked(folder: Path) -> Iterator[Path]:
    """Every file below that isn't hidden; no folder twice, so that links lead in no circle."""

    def refuse(error: OSError) -> None:
        raise error

    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in files if not name.startswith("."))


def _matched(base: Path, pattern: Path) -> Iterator[Path]:
    """Every file below `base` that the pattern matches and that isn't hidden."""
    if pattern.name == "**":
        pattern /= "*"
    os.listdir(base)  # raises where it may not be read, which globbing passes over
    for file in base.glob(str(pattern)):
        hidden = any(part.startswith(".") for part in file.relative_to(base).parts)
        if not (hidden or file.is_dir()):
            yield file


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES


def _natural(file: Path) -> tuple[list[list[str | int]], str]:
    """A key that orders numbers within names by their size."""
    split = [re.split(r"(\d+)", part.casefold()) for part in file.parts]
    return [[int(s) if i % 2 else s for i, s in enumerate(part)] for part in split], str(file)


def _names(files: list[Path], bases: tuple[Path, ...]) -> list[str]:
    """Each file's path below the common folder, as one name; suffix or number where two agree."""
    root = os.path.commonpath(bases)
    plain = ["--".join(file.relative_to(root).with_suffix("").parts) for file in files]
    times = Counter(plain)
    names: dict[str, None] = {}  # in order
    for name, file in zip(plain, files, strict=True):
        wanted = printable(name + file.suffix if times[name] > 1 else name)
        unique, number = wanted, 2
        while unique in names:
            unique, number = f"{wanted}-{number}", number + 1
        names[unique] = None
    return list(names)
