"""What of a dataset is there and what is missing."""

from __future__ import annotations

from dataclasses import dataclass

_SHOWN = 5
"""Names that a lack lists."""


@dataclass(frozen=True)
class Lack:
    """Something that is missing.

    Args:
        what: in words.
        names: which, where there are several.
        had: where they are had; empty if `what` says it.
    """

    what: str
    names: tuple[str, ...] = ()
    had: str = ""

    def describe(self) -> str:
        """The lack in a sentence, with the first few names."""
        if not self.names:
            return self.what
        more = ", …" if len(self.names) > _SHOWN else ""
        had = f"; had from {self.had}" if self.had else ""
        return f"{self.what}: {len(self.names):,} ({', '.join(self.names[:_SHOWN])}{more}){had}"


@dataclass(frozen=True)
class Inventory:
    """What a source finds on disk.

    Args:
        counts: (what, how many, where), a row a folder or list.
        lacks: what is missing.
    """

    counts: tuple[tuple[str, int, str], ...]
    lacks: tuple[Lack, ...]
