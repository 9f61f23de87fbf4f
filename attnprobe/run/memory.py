"""Pictures that are read once though many runs want them, as long as memory is to spare."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnprobe.data.base import Drawing

if TYPE_CHECKING:
    from attnprobe.data.base import Sample

MOST = 1 << 29
"""Bytes of pictures and truths that are kept."""


def read_once(samples: Sequence[Sample], most: int = MOST) -> list[Sample]:
    """The samples, those that are read first kept in memory, up to so many bytes of them.

    The points of a sweep share their images; decoding (or drawing) these anew for each point can
    take as long as grouping them.
    """
    room = _Room(most)
    return [
        replace(
            sample,
            read=_Kept(sample.read, sample.files, room),
            truth=_Kept(sample.truth, sample.files, room),
        )
        for sample in samples
    ]


@dataclass
class _Room:
    left: int


class _Kept:
    """What reads an image's files; the result is kept, if there is room, until they change."""

    def __init__(self, read: Callable[[], Any], files: Sequence[Path], room: _Room) -> None:
        self._read: Callable[[], Any] = read
        self._files = files
        self._room = room
        self._kept: Any = None
        self._state: Any = None

    def __call__(self) -> Any:
        state = _state(self._files)
        if self._kept is not None:
            if state == self._state:
                return self._kept
            self._room.left += _bytes(self._kept)
            self._kept = None
        result = self._read()
        size = _bytes(result)
        if size <= self._room.left:
            self._room.left -= size
            self._kept, self._state = result, state
        return result


def _state(files: Sequence[Path]) -> list[tuple[int, int]]:
    """Size and time of files; empty if one is gone, which reading it will tell."""
    try:
        return [(status.st_size, status.st_ctime_ns) for status in map(os.stat, files)]
    except OSError:
        return []


def _bytes(result: Any) -> int:
    """Bytes of arrays or a picture in RGB; none of no truth, or of what is yet to be drawn."""
    if result is None or isinstance(result, Drawing):
        return 0
    if isinstance(result, tuple):
        return sum(map(_bytes, result))
    return result.nbytes if hasattr(result, "nbytes") else 3 * result.width * result.height
