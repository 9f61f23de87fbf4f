"""Standard output and standard error, which may be closed, full, or read by nobody any more."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def forgiving_streams() -> Iterator[list[OSError]]:
    """A block in which printing never fails; why it couldn't be written is noted in the list.

    What computes goes on for its files' sake, and at its end the command can say so.
    """
    faults: list[OSError] = []
    if sys.stdout is None:
        faults.append(OSError(errno.EBADF, os.strerror(errno.EBADF)))
    _occupy_closed_numbers()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _forgiving(sys.stdout, faults), _forgiving(sys.stderr, [])
    try:
        yield faults
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def _occupy_closed_numbers() -> None:
    """Put something in the place of closed streams: else the next file that is opened would get
    the stream's number, and what a library prints would be written into it."""
    if None in (sys.stdin, sys.stdout, sys.stderr):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(number)


def _forgiving(stream: Any, faults: list[OSError]) -> Any:
    """A stream in the place of one of the process's own; another one, as tests have, is left."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # an unbuffered stream has the file itself there
    if not isinstance(raw, io.FileIO):
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Raw(raw, faults)),
        encoding=stream.encoding,
        errors="replace",  # a terminal that knows no "×" shows a "?"
        line_buffering=stream.line_buffering or stream.write_through,
    )


class _Raw(io.RawIOBase):
    """A file whose writing never fails."""

    def __init__(self, file: io.FileIO, faults: list[OSError]) -> None:
        self._file = file
        self._faults = faults

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int | None:
        try:
            return self._file.write(content)
        except OSError as error:
            self._faults.append(error)
            return len(content)

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return self._file.isatty()
