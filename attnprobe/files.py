"""Files that are whole or not there: written beside their place, then renamed into it."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attnprobe.errors import AttnProbeError


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
