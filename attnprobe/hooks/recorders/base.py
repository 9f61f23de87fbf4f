"""What a recorder is: it reduces an attention call, while it runs, to what is to be kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.layout import Tokens

Axis = Literal["heads", "steps", "keys", "layers"]
Value = torch.Tensor | dict[str, torch.Tensor]

EVERY_AXIS: frozenset[Axis] = frozenset({"heads", "steps", "keys", "layers"})


class Recorder(ABC):
    """Reduces one call to a tensor, or to several by name; the batch axis always comes first.

    One method makes a recorder; nothing of the size heads × queries × keys need exist if it goes
    through the call's `chunks`. What it returns is copied where it is the model's own memory.

    Attributes:
        linear: the axes over which results may be averaged (over keys: summed) afterwards and are
            still what the recorder would have made of averaged (summed) probabilities. Over steps
            a mean is taken by default if ``steps`` is among them, and refused if not.
        probabilities: whether all that is kept lies between 0 and 1, so that half precision is
            scaled up first.
        of_text: whether it is made for layers that look at text, which are then those of a capture
            that says none.

    Examples:
        >>> class Peak(ap.Recorder):
        ...     def record(self, call):
        ...         return torch.cat([probs.amax(3) for _, probs in call.chunks()], 2)
    """

    linear: frozenset[Axis] = frozenset()
    probabilities: bool = False
    of_text: bool = False

    @abstractmethod
    def record(self, call: AttentionCall) -> Value | None:
        """What is kept of the call; None if nothing of it is to be kept."""

    def is_probability(self, part: str) -> bool:
        """Whether the part of that name lies between 0 and 1; a lone tensor's name is empty."""
        return self.probabilities

    def maps(self, value: torch.Tensor, queries: Tokens, keys: Tokens, item: int) -> torch.Tensor:
        """The image's maps (queries, keys) of a batch item, for fields.

        Args:
            value: what was kept of that item, without the batch axis.
            queries: roles and grid of the queries, `keys` likewise.
            item: which batch item of them.

        Raises:
            CaptureError: this recorder keeps no whole maps.
        """
        raise CaptureError(
            f"{type(self).__name__} keeps no whole maps; a field needs HeadMean, PerHead or Pooled"
        )

    def field_grid(self, grid: tuple[int, int]) -> tuple[int, int]:
        """The grid (height, width) that `maps` lie on, of a layer whose own is `grid`."""
        return grid
