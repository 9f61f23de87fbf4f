"""A benchmark as its downloads lie on disk: pictures, label files of the same names, and lists.

A dataset says its parts as data; listing, reading and taking stock are the same for all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from attnprobe.data.base import Classes, Sample, Truth
from attnprobe.data.inventory import Inventory, Lack
from attnprobe.data.table import Numbers, load_table
from attnprobe.data.truths import name_list, read_truth
from attnprobe.data.walk import walked
from attnprobe.errors import ImageError
from attnprobe.files import printable
from attnprobe.pictures.reading import naming, read_image


@dataclass(frozen=True)
class Part:
    """A folder or a list that a dataset has.

    Args:
        paths: below the dataset's root; the first that is there is taken.
        had: where it is had.
        end: how the names of its files end, where it is a folder.
    """

    paths: tuple[str, ...]
    had: str
    end: str = ""

    def find(self, root: Path, what: str) -> Path:
        """Where it is.

        Raises:
            ImageError: it is nowhere.
        """
        for path in (root / each for each in self.paths):
            with naming(path):
                if path.exists():
                    return path
        wanted = " or ".join(printable(root / path) for path in self.paths)
        raise ImageError(f"{wanted}: not there, where the {what} should be; had from {self.had}")


@dataclass(frozen=True)
class Parts:
    """What a dataset consists of.

    Args:
        pictures: their folder.
        labels: the label files' folder, ordered as that of the pictures.
        names: a list of the pictures that count, or None where all do.
    """

    pictures: Part
    labels: Part
    names: Part | None = None


class Benchmark:
    """What the benchmarks' sources have in common; each says its table, its parts and its keys."""

    table: ClassVar[str]
    root: str
    count: int | None
    start: int

    def parts(self) -> Parts:
        """What the dataset consists of."""
        raise NotImplementedError

    @property
    def classes(self) -> Classes | None:
        """The classes, by label; None where each image has regions of its own."""
        return self._table()[0]

    def __call__(self) -> Sequence[Sample]:
        """List the pictures by name.

        Raises:
            ImageError: a folder is missing, or there are no pictures.
        """
        parts, root = self.parts(), self._root()
        pictures = parts.pictures.find(root, "pictures")
        labels = parts.labels.find(root, "labels")
        listed = None if parts.names is None else name_list(parts.names.find(root, "list"))
        names = names_in(pictures, parts.pictures.end) if listed is None else listed
        samples = []
        for name in chosen(names, self.start, self.count, pictures):
            picture = pictures / f"{name}{parts.pictures.end}"
            label = labels / f"{name}{parts.labels.end}"
            truth = self.truth(picture, label)
            read = partial(read_image, picture)
            own = name.rpartition("/")[2]
            samples.append(Sample(own, read, truth, printable(picture), (picture, label)))
        return samples

    def truth(self, picture: Path, label: Path) -> Callable[[], Truth]:
        """What reads the truth of a picture from its label file."""
        return partial(read_truth, picture, label, self._table()[1].labels)

    def inventory(self) -> Inventory:
        """What of it is there, and what is missing."""
        parts, root = self.parts(), self._root()
        found: dict[str, list[str]] = {}
        counts, lacks = [], []
        wanted = {"pictures": parts.pictures, "labels": parts.labels, "list": parts.names}
        for what, part in wanted.items():
            if part is None:
                continue
            try:
                path = part.find(root, what)
                found[what] = name_list(path) if what == "list" else names_in(path, part.end)
            except ImageError as error:
                lacks.append(Lack(str(error)))
            else:
                counts.append((what, len(found[what]), printable(path)))
        if {"pictures", "labels"} <= found.keys():
            lacks += _lacks(found, parts)
        return Inventory(tuple(counts), tuple(lacks))

    def _table(self) -> tuple[Classes, Numbers]:
        # Where the background is no key, it is no row of the table either.
        return load_table(self.table, getattr(self, "background", True))

    def _root(self) -> Path:
        root = Path(os.path.expanduser(self.root))
        with naming(root):
            there = root.is_dir()
        if not there:
            had = "; ".join(dict.fromkeys(p.had for p in vars(self.parts()).values() if p))
            raise ImageError(f"{printable(root)}: no such folder; the dataset is had from {had}")
        return root


def _lacks(found: dict[str, list[str]], parts: Parts) -> list[Lack]:
    """Pictures and labels that are missing, of those that a list names if there is one."""
    pictures, labels = set(found["pictures"]), set(found["labels"])
    if "list" not in found:
        return lacks_of_labels(pictures, labels, parts.pictures.had, parts.labels.had)
    listed = set(found["list"])
    absent = tuple(sorted(listed - pictures))
    lacks = [Lack("listed pictures are not there", absent, parts.pictures.had)] if absent else []
    had = (parts.pictures.had, parts.labels.had)
    return lacks + lacks_of_labels(pictures & listed, labels & listed & pictures, *had)


def lacks_of_labels(
    pictures: set[str], labels: set[str], pictures_had: str = "", labels_had: str = ""
) -> list[Lack]:
    """Pictures without labels, and labels without pictures, by their names."""
    kinds = [
        ("pictures without labels", pictures - labels, labels_had),
        ("labels without pictures", labels - pictures, pictures_had),
    ]
    return [Lack(what, tuple(sorted(names)), had) for what, names, had in kinds if names]


def names_in(folder: Path, end: str) -> list[str]:
    """Names of the files below a folder that end so, without the end and by name.

    Raises:
        ImageError: a folder can't be read.
    """
    names = []
    try:
        for place, files in walked(folder):
            below = os.path.relpath(place, folder)
            prefix = "" if below == "." else f"{below}/"
            names += [f"{prefix}{file.removesuffix(end)}" for file in files if file.endswith(end)]
    except OSError as error:
        raise ImageError(f"{printable(folder)}: can't be searched: {error.strerror}") from error
    return sorted(names)


def chosen(names: list[str], start: int, count: int | None, where: Path) -> list[str]:
    """`count` of the names from number `start` on.

    Raises:
        ImageError: there are none.
    """
    if not names:
        raise ImageError(f"{printable(where)}: no pictures in this folder")
    if start >= len(names):
        raise ImageError(
            f"{printable(where)}: start must be below the number of pictures, {len(names)}. "
            f"Got {start} instead."
        )
    return names[start:][:count]
