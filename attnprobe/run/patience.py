"""When a run gives up: after so many failures, or when nothing can succeed any more."""

from __future__ import annotations

import re
from typing import Any

from attnprobe.errors import RunError
from attnprobe.run.outcome import Outcome

EQUAL = 10
"""So many failures of one kind from the start on are no images' fault."""


class Patience:
    """What a run puts up with.

    Args:
        most: failures after which it stops; by default only failures of one kind, of all of the
            first ten images, stop it.
        device: where the model works.
    """

    def __init__(self, most: int | None, device: Any = None) -> None:
        self._most = most
        self._device = device
        self._failed = 0
        self._kinds: set[str] = set()
        self._count = 0

    def take(self, outcome: Outcome) -> None:
        """Take one more outcome.

        Raises:
            RunError: that was one failure too many, or the device can't compute any more.
        """
        self._count += 1
        if outcome.error is None:
            return
        self._failed += 1
        self._kinds.add(_kind(outcome))
        reason = fault_of(self._device)
        if reason:
            raise RunError(f"{self._device} can't compute any more: {reason}")
        if self._most is None:
            if self._count == self._failed == EQUAL and len(self._kinds) == 1:
                raise RunError(
                    f"the first {EQUAL} images all fail in the same way: {outcome.error}; "
                    f"--max-failures {10 * EQUAL} would go on up to that number"
                )
        elif self._failed >= self._most:
            count = f"{self._failed} images fail" if self._failed > 1 else "an image fails"
            raise RunError(f"{count}, the last one so: {outcome.error}")


def _kind(outcome: Outcome) -> str:
    """A failure's sentence without what is particular to the image."""
    text = outcome.error or ""
    for name in filter(None, (outcome.where, outcome.image)):
        text = text.replace(name, "…")
    return re.sub(r"\d+", "#", text)


def fault_of(device: Any) -> str:
    """Why a device can't compute, such as a GPU after an assertion in a kernel; empty if it can."""
    import torch

    kind = getattr(device, "type", "cpu")
    if kind == "cpu":
        return ""
    try:
        torch.ones(1, device=device).add(1).item()
    except Exception as error:  # torch and drivers have errors of every kind
        return str(error).partition("\n")[0]
    return ""
