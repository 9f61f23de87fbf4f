"""Standard output as the commands write on it."""

from __future__ import annotations

import os
import sys

from rich.console import Console


def console() -> Console:
    """Standard output: as wide as the terminal, and in a file wide enough not to break lines."""
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200
    return Console(width=wide, emoji=False)
