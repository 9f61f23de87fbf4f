"""A lock on a folder: held by one process, and never left behind by a killed one."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

_UNLOCKABLE = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
"""What a file system answers that knows no locks; there a run goes unguarded."""


class Lock:
    """A file that is locked while it is held and removed afterwards.

    The kernel frees the lock when its process ends, however it ends. A killed process leaves the
    empty file, which the next one takes and removes.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def take(self) -> bool:
        """Take the lock; False if another process holds it.

        Raises:
            OSError: the file can't be made or written.
        """
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                return False
            except OSError as error:
                if error.errno not in _UNLOCKABLE:
                    os.close(file)
                    raise
            if os.fstat(file).st_nlink:
                self._file = file
                return True
            os.close(file)  # its holder removed it between the two calls above

    def drop(self) -> None:
        """Remove the file and free the lock, in that order; nothing if it isn't held."""
        if self._file is None:
            return
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            pass  # the folder is read-only by now; what is left binds nobody
        finally:
            os.close(self._file)
            self._file = None
