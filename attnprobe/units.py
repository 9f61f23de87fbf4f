"""Sizes in memory, as people write and read them."""

from __future__ import annotations

import re

from attnprobe.errors import CaptureError


def parse_bytes(given: int | str) -> int:
    """``2GiB``, ``500 MB`` or a number of bytes.

    Raises:
        CaptureError: it is neither.
    """
    units = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
    match = re.fullmatch(
        r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*(?:([KMGT])(i?))?B?\s*", str(given), re.IGNORECASE
    )
    size = 0.0
    if match is not None:
        size = float(match[1]) * (1024 if match[3] else 1000) ** units[(match[2] or "").upper()]
    if not 1 <= size < float("inf"):
        raise CaptureError(f"budget must be bytes, such as '2GiB'. Got {given!r} instead.")
    return int(size)


def format_bytes(size: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
