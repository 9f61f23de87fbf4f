"""Pixel-adaptive mask refinement: masks spread to neighbours of like colour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge, Le, MinLen

from attnprobe.fields import AnyField, Segmentation
from attnprobe.lazy import F, torch
from attnprobe.refine.segments import compacted, masks, needed, picture_at, reduced_size
from attnprobe.registry import refiner

if TYPE_CHECKING:
    from PIL.Image import Image

Shift = tuple[int, int]

_DILATIONS = (1, 2, 4, 8, 12, 24)
"""Those of the paper's program."""


@refiner("pamr")
@dataclass(frozen=True)
class Pamr:
    """Pixel-adaptive mask refinement (Araslanov & Roth 2020, section 3.4; used by DiffCut).

    Each pixel's mask becomes the mean over its eight neighbours at several distances, weighed by
    softmax(−|I_i − I_j| / 0.1 σ_i), mean over the colours, with σ_i the standard deviation of the
    colour around the pixel; several times over, as the authors' program does. At the size of the
    picture, or at a smaller one if it is larger, with the masks as proposals.
    O(t·K·d·P) for t iterations on P pixels, K labels and d distances; O((d + K)·P) in memory,
    90 MB at side 256 and six distances.

    Args:
        iterations: how often masks spread.
        dilations: distances of the neighbours, in pixels of the smaller picture.
        side: the smaller picture has about side² pixels.
    """

    iterations: Annotated[int, Ge(1), Le(1000)] = 10
    dilations: Annotated[tuple[Annotated[int, Ge(1), Le(999)], ...], MinLen(1)] = _DILATIONS
    side: Annotated[int, Ge(1), Le(512)] = 256

    def __call__(
        self,
        segmentation: Segmentation,
        field: AnyField,
        *,
        rng: np.random.Generator | None = None,
        image: Image | None = None,
    ) -> Segmentation:
        """Labels and proposals of the picture's size, or of the smaller one.

        Raises:
            ComponentError: there is no picture.
        """
        image = needed(image, "Pamr")
        segments = compacted(segmentation)
        size = reduced_size(image, self.side)
        spread = masks(segments, size).to(field.device)
        shifts = [(d * y, d * x) for d in self.dilations for y, x in product((-1, 0, 1), repeat=2)]
        others = [shift for shift in shifts if shift != (0, 0)]
        picture = picture_at(image, size).to(spread)
        weights = _weights(picture, shifts)
        for _ in range(self.iterations):
            mean = torch.zeros_like(spread)
            for weight, moved in zip(weights, _shifted(spread, others), strict=True):
                mean.addcmul_(moved, weight)
            spread = mean
        return Segmentation(spread.argmax(0).cpu().numpy(), spread, segments.names)


def _weights(picture: torch.Tensor, shifts: list[Shift]) -> torch.Tensor:
    """How much of each neighbour a pixel takes, (neighbours, H, W), summing to 1."""
    around = torch.stack(list(_shifted(picture, shifts)))
    deviation = around.std(0)
    is_other = torch.tensor([shift != (0, 0) for shift in shifts], device=picture.device)
    unlike = (around[is_other] - picture).abs_() / (1e-8 + 0.1 * deviation)
    return unlike.mean(1).neg_().softmax(0)


def _shifted(maps: torch.Tensor, shifts: list[Shift]) -> Iterator[torch.Tensor]:
    """The maps as seen from each pixel at each shift, those at the edges repeated beyond them."""
    far = max(abs(step) for shift in shifts for step in shift)
    height, width = maps.shape[1:]
    padded = F.pad(maps[None], (far,) * 4, mode="replicate")[0]
    for y, x in shifts:
        yield padded[:, far + y : far + y + height, far + x : far + x + width]
