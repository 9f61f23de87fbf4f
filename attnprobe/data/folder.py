"""Your own images: files, patterns and folders, with label files where there are some."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import MinLen

from attnprobe.data.base import Classes, PathText, Sample, no_truth
from attnprobe.data.benchmark import lacks_of_labels, names_in
from attnprobe.data.inventory import Inventory
from attnprobe.data.table import plain_labels
from attnprobe.data.truths import read_truth
from attnprobe.data.walk import walked
from attnprobe.errors import ComponentError, ImageError
from attnprobe.files import printable
from attnprobe.pictures.reading import IMAGE_SUFFIXES, read_image
from attnprobe.registry import source


@source("folder")
@dataclass(frozen=True)
class Folder:
    """Your own images: a file, a pattern such as photos/**/*.jpg, a folder, or a list of these.

    A folder is searched with all below it, links followed (a pattern's ** follows none). Hidden
    files and those without a picture's suffix are passed over. The order is the natural one, 2.jpg
    before 10.jpg. As much of a path as exists is taken literally, so that brackets in a file's
    name make no pattern. Relative paths start at the working directory, ~ is the home directory.

    Labels are grey or indexed PNG files of the pictures' sizes, in a folder that is ordered as that
    of the pictures: truth/day/1.png for photos/day/1.jpg. Void is the largest number of the file's
    depth, 255 in 8 bits and 65535 in 16.

    Args:
        path: a file, pattern or folder, or a list of these.
        labels: the folder of the label files; pictures come without truth by default.
        names: what the labels 0, 1, … are called; then no others are allowed.
    """

    path: PathText | Annotated[tuple[PathText, ...], MinLen(1)]
    labels: PathText | None = None
    names: Annotated[tuple[str, ...], MinLen(1)] | None = None

    def __post_init__(self) -> None:
        if self.names is not None and self.labels is None:
            raise ComponentError("Folder.names: are those of labels, so a labels folder is needed")

    @property
    def classes(self) -> Classes | None:
        """The classes, if they have names."""
        return None if self.names is None else Classes(self.names)

    def __call__(self) -> Sequence[Sample]:
        """List the images; raises ImageError where there are none, or no folder of labels."""
        files = self._files()
        names = _names(list(files), tuple(files.values()))
        return [
            Sample(name, partial(read_image, file), truth, printable(file), (file, *labels))
            for name, file, (truth, labels) in zip(names, files, self._truths(files), strict=True)
        ]

    def inventory(self) -> Inventory:
        """How many images and label files there are, and which lack the other."""
        files = self._files()
        counts = [("pictures", len(files), self._shown_path())]
        if self.labels is None:
            return Inventory(tuple(counts), ())
        folder = self._label_folder()
        labels = names_in(folder, ".png")
        counts.append(("labels", len(labels), printable(folder)))
        pictures = {_label_name(file, base) for file, base in files.items()}
        return Inventory(tuple(counts), tuple(lacks_of_labels(pictures, set(labels))))

    def _files(self) -> dict[Path, Path]:
        """Each image, with the folder that its place is told from."""
        given = (self.path,) if isinstance(self.path, str) else self.path
        labels = None if self.labels is None else self._label_folder()
        files: dict[Path, Path] = {}
        for base, found in map(_found, given):
            for file in found:
                if labels is None or labels not in file.parents:
                    files.setdefault(file, base)
        if not files:
            raise ImageError(f"{self._shown_path()}: no images but those of labels")
        return files

    def _shown_path(self) -> str:
        return printable(self.path if isinstance(self.path, str) else ", ".join(self.path))

    def _label_folder(self) -> Path:
        folder = Path(os.path.expanduser(self.labels or "")).absolute()
        if not os.path.isdir(folder):
            raise ImageError(f"{printable(folder)}: no such folder, where the labels should be")
        return folder

    def _truths(
        self, files: dict[Path, Path]
    ) -> list[tuple[Callable[[], np.ndarray | None], tuple[Path, ...]]]:
        """Each image's truth, and the file it is read from."""
        if self.labels is None:
            return [(no_truth, ())] * len(files)
        folder = self._label_folder()
        labels_of = plain_labels(None if self.names is None else len(self.names))
        labels = [folder / f"{_label_name(file, base)}.png" for file, base in files.items()]
        return [
            (partial(read_truth, file, label, labels_of), (label,))
            for file, label in zip(files, labels, strict=True)
        ]


def _label_name(file: Path, base: Path) -> str:
    return file.relative_to(base).with_suffix("").as_posix()


def _found(given: str) -> tuple[Path, list[Path]]:
    """The folder that `given` starts from, and its images in natural order."""
    path = base = Path(os.path.expanduser(given)).absolute()
    if os.path.isfile(path):
        return path.parent, [path]
    while not os.path.exists(base):
        base = base.parent
    try:
        files = _below(base) if base == path else _matched(base, path.relative_to(base))
        images = sorted({file for file in files if _is_image(file)}, key=_natural)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{printable(given)}: can't be searched: {reason}") from error
    if not images:
        fault = "no images in this folder" if base == path else "no such file, nor any that matches"
        raise ImageError(f"{printable(given)}: {fault}; allowed: {' '.join(IMAGE_SUFFIXES)}")
    return base, images


def _below(folder: Path) -> Iterator[Path]:
    for place, files in walked(folder):
        yield from (Path(place, name) for name in files)


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
