"""What is said of the package itself: its version, and when it was imported."""

from __future__ import annotations

import time

#: Seconds since 1970 when the first of the package was imported: a file that is newer may say other
#: than what runs.
IMPORTED = time.time()


def version() -> str:
    """The version installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("attnprobe")
    except PackageNotFoundError:  # a checkout that is not installed
        return "0+unknown"
