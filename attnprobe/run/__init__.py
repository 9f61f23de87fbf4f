"""Runs: a recipe carried over many images, with everything it finds in one folder."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnprobe.run.carry import Run
    from attnprobe.run.folder import RunFolder
    from attnprobe.run.outcome import Outcome
    from attnprobe.run.points import run_points
    from attnprobe.run.results import Results
    from attnprobe.run.watch import Watch

__all__ = ["Outcome", "Results", "Run", "RunFolder", "Watch", "run_points"]

_MODULES = {
    "Outcome": "outcome",
    "Results": "results",
    "Run": "carry",
    "RunFolder": "folder",
    "Watch": "watch",
    "run_points": "points",
}
"""Where each name is; they import torch, which a command's help doesn't need."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
