"""What a recorder is: it reduces an attention call, while it runs, to what is to be kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall

Axis = Literal["heads", "steps", "keys", "layers"]
Value = torch.Tensor | dict[str, torch.Tensor]

EVERY_AXIS: frozenset[Axis] = frozenset({"heads", "steps", "keys", "layers"})


class Recorder(ABC):
    """Reduces one call to a tensor, or to several by name; the batch axis always comes first.

    Nothing of the size heads × queries × keys need exist: go through the call's `chunks`.

    Attributes:
        linear: the axes over which its result is linear in the probabilities: only over those may
            results be averaged or summed afterwards and still mean the same.
        distribution: whether the last axis sums to 1, so that half precision must scale it first.
    """

    linear: ClassVar[frozenset[Axis]] = frozenset()
    distribution: ClassVar[bool] = False

    @abstractmethod
    def record(self, call: AttentionCall) -> Value:
        """What is kept of the call."""

    def maps(self, value: torch.Tensor) -> torch.Tensor:
        """What was kept as maps (batch, queries, keys) whose rows sum to 1, for fields.

        Raises:
            CaptureError: this recorder keeps no whole maps.
        """
        raise CaptureError(
            f"{type(self).__name__} keeps no whole maps; a field needs HeadMean or PerHead"
        )

    def field_grid(self, grid: tuple[int, int]) -> tuple[int, int]:
        """The grid (height, width) that maps lie on of a layer whose own is `grid`."""
        return grid
