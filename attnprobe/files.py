"""Files that are whole or not there: written beside their place, then renamed into it.

And files that can be read to their end: regular ones, of a size that was expected.
"""

import errno
import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attnprobe.errors import AttnProbeError

LARGEST = 1 << 30
"""Bytes of a file that is read whole, if nobody says otherwise."""

LONGEST_NAME = 200
"""Bytes of a name: file systems allow 255, with a suffix."""


@contextmanager
def write_whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; rename it to `path` if the block succeeds.

    The block writes a file at the temporary path, which has the suffix of `path` (many writers
    choose their format by it) and a hidden name. Whatever stops the block, an interrupt included,
    the temporary file is removed and a file that was at `path` is as it was.

    Raises:
        AttnProbeError: the folder is missing or can't be written, or the disk is full.
    """
    path = Path(path)
    temporary = path.parent / f".tmp-{uuid.uuid4().hex[:12]}{path.suffix}"
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise AttnProbeError(f"{path}: can't be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def make_folder(path: Path) -> None:
    """Make a folder unless it is there.

    Raises:
        AttnProbeError: it can't be made.
    """
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise AttnProbeError(f"{path}: can't be written: {error.strerror or error}") from error


def is_temporary(name: str) -> bool:
    """Whether a file of that name is what a killed writer was about to rename."""
    return re.fullmatch(r"\.tmp-[0-9a-f]{12}(\..*)?", name) is not None


def regular(path: str | Path) -> Path:
    """The path, if a regular file is there: reading a pipe or a device might never end.

    Raises:
        OSError: there is none, or it is something else.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return Path(path)


def read_bytes(path: str | Path, largest: int = LARGEST) -> bytes:
    """A regular file's content.

    Raises:
        OSError: it can't be read, is something else, or has more bytes than `largest`.
    """
    with open(regular(path), "rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise OSError(errno.EFBIG, f"more than {largest:,} bytes are too many", str(path))
    return content


def read_text(path: str | Path, largest: int = LARGEST) -> str:
    """A regular file's text, in UTF-8.

    Raises:
        OSError: as `read_bytes`.
        UnicodeDecodeError: it isn't text.
    """
    return read_bytes(path, largest).decode("utf-8")


def printable(text: str | Path) -> str:
    """A text that can be printed and stored: what moves a terminal's cursor, turns its line round,
    or is no letter at all (a file name's bytes that are no text) becomes question marks."""
    return _UNPRINTABLE.sub("?", str(text))


_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def safe_name(name: str) -> str:
    """A name as any disk and terminal takes it, and itself if it is one.

    Letters that can't be printed or lead into folders become question marks and dashes; of a name
    too long the end becomes a hash of the whole.
    """
    plain = printable(name).replace("/", "-")
    if plain in ("", ".", "..") or plain.startswith(".tmp-"):
        plain = f"_{plain}"
    encoded = plain.encode()
    if len(encoded) <= LONGEST_NAME:
        return plain
    import hashlib  # takes longer than all else here, and few names need it

    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    cut = encoded[: LONGEST_NAME - len(digest) - 1].decode("utf-8", "ignore")
    return f"{cut}-{digest}"
