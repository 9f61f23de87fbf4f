"""Words to segments: each place takes the word that it looks at the most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt, Le

from attnprobe.fields import Segmentation, WordMaps, refuse_nan
from attnprobe.lazy import torch
from attnprobe.registry import grouper


@grouper("argmax")
@dataclass(frozen=True)
class Argmax:
    """Several words' maps become labels, named by the words (Tian et al. 2024, section 3.4).

    Words differ in how much attention they draw at all, so each map is first divided by its
    spatial L2 norm, as the authors' program does, or by its largest value. Proposals are the
    divided maps. O(K·N) for K words.

    Args:
        divide: each map by its ``norm``, its ``max``, or by nothing (``none``).
        background: places where no word reaches this share of its own map's largest value are a
            segment of their own, called background; without it every place takes a word.
    """

    divide: Literal["norm", "max", "none"] = "norm"
    background: Annotated[float, Gt(0), Le(1)] | None = None

    def __call__(
        self,
        field: WordMaps,
        *,
        rng: np.random.Generator | None = None,
        truth: np.ndarray | None = None,
    ) -> Segmentation:
        """Segment on the maps' grid; label i is the field's word i, background comes last."""
        refuse_nan([field], "Argmax")
        most = _positive(field.maps.amax((1, 2)))
        norm = _positive(field.maps.flatten(1).norm(dim=1))
        by = {"norm": norm, "max": most, "none": torch.ones_like(most)}[self.divide]
        names = dict(enumerate(field.words))
        maps = field.maps / by[:, None, None]
        if self.background is not None:
            # Where every word is under its bar, this map is over all of them, and nowhere else.
            over = (field.maps / most[:, None, None] >= self.background).any(0)
            maps = torch.cat([maps * over, (~over).to(maps)[None]])
            names[len(field.words)] = "background"
        return Segmentation(maps.argmax(0).cpu().numpy(), proposals=maps, names=names)


def _positive(values: torch.Tensor) -> torch.Tensor:
    """The values, with 1 for those that are 0: a map without attention is divided by nothing."""
    return torch.where(values > 0, values, 1)
