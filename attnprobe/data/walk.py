"""What lies below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def walked(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder from this one down with the names of its files; hidden ones are passed over.

    Links are followed, but no folder is entered twice, so that they lead in no circle.

    Raises:
        OSError: a folder can't be read.
    """

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
        yield place, [name for name in files if not name.startswith(".")]
