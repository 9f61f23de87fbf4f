"""The ledger: layers expected against layers seen, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from attnprobe.errors import CaptureError
from attnprobe.hooks import _private
from attnprobe.hooks.layers import Layer
from attnprobe.hooks.layout import Grid3

NOTHING_KEPT = object()
"""What an observer answers that has kept nothing of a call: as if it had not seen it."""

Reason = Callable[[Layer, set[int], set[int]], str]
"""Why a layer was not observed at those steps, given the steps at which it was."""


@dataclass
class Ledger:
    """Which layers should be seen at which steps, and which were.

    Args:
        expected: the layers chosen.
        seen: name -> steps at which a call was told, and something kept of it.
        unkept: names of layers that were told of and left nothing to keep.
        steps: steps at which calls were wanted.
        passed: name -> grid of a layer that was told of but lay on another than the one chosen.
    """

    expected: list[Layer]
    seen: dict[str, set[int]] = field(default_factory=dict)
    unkept: set[str] = field(default_factory=set)
    steps: set[int] = field(default_factory=set)
    passed: dict[str, Grid3 | None] = field(default_factory=dict)

    def note(self, layer: Layer, step: int, kept: bool = True) -> None:
        """A call of the layer was told at that step, and something or nothing kept of it."""
        if kept:
            self.seen.setdefault(layer.name, set()).add(step)
        else:
            self.unkept.add(layer.name)

    def missing(self) -> dict[str, set[int]]:
        """Name -> steps at which the layer was not seen though it was wanted."""
        lacking = {}
        for layer in self.expected:
            steps = self.steps - self.seen.get(layer.name, set())
            if steps and layer.name not in self.passed:
                lacking[layer.name] = steps
        return lacking

    def coverage(self, reason: Reason) -> list[dict[str, Any]]:
        """A row a layer: name, kind, steps wanted, steps seen, and why not where not."""
        missing = self.missing()
        return [
            {
                "name": layer.name,
                "kind": layer.kind,
                "wanted": len(self.steps),
                "seen": len(self.seen.get(layer.name, ())),
                "reason": self._why(layer, missing, reason),
            }
            for layer in self.expected
            if layer.name not in self.passed or layer.name in self.seen
        ]

    def check(self, reason: Reason) -> None:
        """Raise if anything expected was not seen.

        Raises:
            CaptureError: with the layers' names and the reasons.
        """
        missing = self.missing()
        if missing:
            by_reason: dict[str, list[str]] = {}
            for layer in self.expected:
                if layer.name in missing:
                    why = self._why(layer, missing, reason)
                    by_reason.setdefault(why, []).append(layer.name)
            told = "; ".join(f"{why}: {', '.join(names)}" for why, names in by_reason.items())
            raise CaptureError(
                f"{len(missing)} of {len(self.expected)} layers were not observed: {told}. "
                "Choose other layers, or allow it with missing='ignore'"
            )
        if not self.seen and self.passed:
            grids = dict.fromkeys(_describe_grid(grid) for grid in self.passed.values())
            raise CaptureError(
                f"no layer ran on the grid that was chosen; their grids were {', '.join(grids)}"
            )

    def _why(self, layer: Layer, missing: dict[str, set[int]], reason: Reason) -> str:
        if layer.name not in missing:
            return ""
        if layer.name in self.unkept:
            return (
                "the recorder kept nothing of it, as TokenMaps does where no key is known to "
                "be the text's"
            )
        return reason(layer, missing[layer.name], self.seen.get(layer.name, set()))


def _describe_grid(grid: Grid3 | None) -> str:
    if grid is None:
        return "unknown"
    return "×".join(map(str, grid if grid[0] > 1 else grid[1:]))


def why_unseen(
    module: nn.Module | None,
    layer: Layer,
    steps: set[int],
    seen: set[int],
    ran: set[int],
    stray: bool = False,
) -> str:
    """Why a layer was not observed, as far as its module tells.

    Args:
        module: the layer's, None if it is gone.
        layer: what is known of it.
        steps: at which it was not observed.
        seen: at which it was.
        ran: at which it ran.
        stray: whether it computed probabilities that it multiplied nothing by.
    """
    if layer.mute:
        return layer.mute
    idle = steps - ran
    if idle:
        return f"the layer did not run{_when(idle) if ran else ''}"
    caches = _caches(module)
    if caches:
        return f"its output came from a cache ({', '.join(caches)}){_when(steps)}"
    if seen:  # so its kernel can be tapped
        why = "it had its output from a cache there, or another kernel than else"
        return f"it computed no attention that could be seen{_when(steps)}: {why}"
    if module is None:
        return "it uses a kernel that can't be tapped"
    processor = getattr(module, "processor", None)
    user = type(module).__name__ if processor is None else f"processor {type(processor).__name__}"
    if stray:
        return (
            f"its {user} multiplies by other probabilities than those it had computed, or not by "
            "bmm or matmul"
        )
    untold = (
        ""
        if _private.backends() is not None
        else (", and this diffusers has no registry of kernels where attnprobe looks for it")
    )
    return f"its {user} uses a kernel that can't be tapped{untold}"


def _when(steps: set[int]) -> str:
    return f" at {len(steps)} of the steps, first at step {min(steps)}"


def _caches(module: nn.Module | None) -> list[str]:
    """The hooks of diffusers on a module that may answer with an earlier output."""
    hooks = getattr(getattr(module, "_diffusers_hook", None), "hooks", {})
    return [name for name in hooks if "cache" in name or "broadcast" in name]
