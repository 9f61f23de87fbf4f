"""The list of a run's images, and which file each of them was: images.json.

An image is its file, not its name: names are made from where files lie among others, and pass from
one to another as files come and go.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnprobe.errors import ImageError
from attnprobe.files import printable, regular

if TYPE_CHECKING:
    from attnprobe.data.base import Sample


@dataclass(frozen=True)
class FileState:
    """A file as it was when it was read.

    Args:
        where: its path, in letters that can be printed.
        size: in bytes.
        time: of the last change to its content or name, nanoseconds since 1970.
        hash: SHA-256 of its content.
    """

    where: str
    size: int
    time: int
    hash: str

    @classmethod
    def of(cls, path: Path) -> FileState:
        """The state of a file now.

        Raises:
            OSError: it can't be read, or is no regular file.
        """
        with open(regular(path), "rb") as file:
            status = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256")
        return cls(printable(path), status.st_size, status.st_ctime_ns, digest.hexdigest())

    def holds(self, path: Path) -> bool:
        """Whether the file has not been touched since."""
        try:
            status = os.stat(path)
        except OSError:
            return False
        return (status.st_size, status.st_ctime_ns) == (self.size, self.time)

    def same(self, path: Path) -> bool:
        """Whether the file's content is the same: by its hash where it was touched since."""
        if self.holds(path):
            return True
        try:
            return FileState.of(path).hash == self.hash
        except OSError:
            return False


@dataclass(frozen=True)
class Listed:
    """An image of a run.

    Args:
        image: its name.
        where: its path or description; empty if that isn't known.
        files: the picture's and the label file's state when they were read; none before that, and
            for an image that is in no file.
    """

    image: str
    where: str = ""
    files: tuple[FileState, ...] = ()

    def is_still(self, sample: Sample) -> bool:
        """Whether a sample is the image that was read."""
        return (
            self.where == sample.where
            and len(self.files) == len(sample.files)
            and all(state.same(path) for state, path in zip(self.files, sample.files, strict=True))
        )

    def entry(self) -> dict[str, Any]:
        """Its entry in images.json: where, size, time and hash; with a label file, its own too."""
        said: dict[str, Any] = {"size": None, "time": None, "hash": None}
        if self.files:
            said = asdict(self.files[0])
        if len(self.files) > 1:
            said["truth"] = asdict(self.files[1])
        return {"image": self.image, **said, "where": self.where}

    @classmethod
    def read(cls, entry: dict[str, Any]) -> Listed:
        """From an entry whose form was checked."""
        listed = cls(entry["image"], entry.get("where") or "")
        said = [entry, entry["truth"]] if entry.get("truth") else [entry]
        if any(each.get("hash") is None for each in said):
            return listed
        keys = ("where", "size", "time", "hash")
        return replace(
            listed, files=tuple(FileState(*(each[key] for key in keys)) for each in said)
        )


def states(files: Iterable[Path]) -> tuple[FileState, ...]:
    """The states of an image's files; none if one can't be read, which reading it will tell."""
    try:
        return tuple(map(FileState.of, files))
    except OSError:
        return ()


def refuse_if_changed(files: Sequence[Path], before: Sequence[FileState]) -> None:
    """Refuse an image of which nobody knows whether it was read before or after a change.

    Raises:
        ImageError: a file has changed since, or has come.
    """
    if len(files) != len(before):
        raise ImageError(f"{printable(files[0])}: changed while it was read")
    for path, state in zip(files, before, strict=True):
        if not state.holds(path):
            raise ImageError(f"{printable(path)}: changed while it was read")
