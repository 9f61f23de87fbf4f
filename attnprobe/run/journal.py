"""What a run has found since its files were last written, a line an image, only ever added to.

Writing all files anew after each image would take longer with every image. A line is added in the
same time always, and is whole or, where its process was killed or the disk was full, recognisable.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from attnprobe.errors import RunError
from attnprobe.files import read_bytes


class Journal:
    """Lines of JSON in a file that is made with the first line.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._checked = False

    def read(self) -> list[dict[str, Any]]:
        """All whole lines.

        Raises:
            RunError: the file can't be read, or holds something else.
        """
        try:
            return [json.loads(line) for line in self._whole().splitlines()]
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.path}: can't be read: {error}") from None

    def add(self, row: dict[str, Any]) -> None:
        """Add a line; it outlives the process once this returns.

        Raises:
            RunError: the folder can't be written, or the disk is full.
        """
        line = json.dumps(row).encode() + b"\n"  # ASCII, so that only \n ends a line
        try:
            if not self._checked:
                self._cut_off_what_is_torn()
            with open(self.path, "ab", buffering=0, opener=_open_no_link) as file:
                written = file.write(line)
                if written != len(line):
                    file.truncate(file.tell() - (written or 0))
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise RunError(f"{self.path}: can't be written: {error.strerror}") from error

    def remove(self) -> None:
        """Remove the file, whose lines are in the run's files by now.

        Raises:
            RunError: the folder can't be written.
        """
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{self.path}: can't be removed: {error.strerror}") from error

    def _whole(self) -> bytes:
        """The file up to its last line end; what follows is half of a line."""
        data = read_bytes(self.path) if self.path.exists() else b""
        return data[: data.rfind(b"\n") + 1]

    def _cut_off_what_is_torn(self) -> None:
        if self.path.exists():
            length = len(self._whole())
            with open(self.path, "r+b", opener=_open_no_link) as file:
                file.truncate(length)
        self._checked = True


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)
