"""One word to a mask: the places that look at it more than a threshold says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt, Lt

from attnprobe.errors import ComponentError, did_you_mean
from attnprobe.fields import Segmentation, WordMaps, refuse_nan
from attnprobe.lazy import torch
from attnprobe.registry import grouper

_BINS = 256
"""Of the histogram, as Otsu has grey levels."""


@grouper("threshold")
@dataclass(frozen=True)
class Threshold:
    """A word's map becomes a mask: background, and the word (DAAM, Tang et al. 2023, section 4).

    The map is brought to [0, 1] by its least and its largest value. Otsu's threshold (1979) parts
    its values so that the variance between both parts is largest. Proposals are the map and what
    it has to get over, so the border is drawn at the picture's size. O(N).

    Args:
        word: which, if the field has several.
        at: the threshold in (0, 1), or ``otsu``.
    """

    word: str | None = None
    at: Annotated[float, Gt(0), Lt(1)] | Literal["otsu"] = "otsu"

    def __call__(
        self,
        field: WordMaps,
        *,
        rng: np.random.Generator | None = None,
        truth: np.ndarray | None = None,
    ) -> Segmentation:
        """Segment on the map's grid: 0 is the background, 1 the word.

        Raises:
            ComponentError: the word isn't among the field's, or is not said and there are several.
        """
        refuse_nan([field], "Threshold")
        word = self._word(field)
        given = field[word]
        low, high = given.aminmax()
        if high - low <= _FLAT * high:  # nothing stands out
            level = torch.zeros_like(given)
            at = 1.0
        else:
            level = (given - low) / (high - low)
            at = otsu(level) if self.at == "otsu" else self.at
        maps = torch.stack([torch.full_like(level, at), level])
        names = {0: "background", 1: word}
        return Segmentation(maps.argmax(0).cpu().numpy(), proposals=maps, names=names)

    def _word(self, field: WordMaps) -> str:
        if self.word is None:
            if len(field.words) > 1:
                raise ComponentError(
                    "Threshold.word: the field has several words, so say which; "
                    f"allowed: {', '.join(field.words)}"
                )
            return field.words[0]
        if self.word not in field.words:
            near = did_you_mean(self.word, list(field.words))
            raise ComponentError(f"Threshold.word: no map of the word {self.word!r}{near}")
        return self.word


_FLAT = 1e-6
"""A map whose values differ by less than this share is one value but for rounding."""


def otsu(values: torch.Tensor) -> float:
    """Otsu's threshold of values in [0, 1]: the border after the bin that parts them best.

    Otsu, "A threshold selection method from gray-level histograms", 1979, equation 18: the largest
    variance between both parts, w₀·w₁·(μ₀ − μ₁)².
    """
    counts = torch.histc(values.float().cpu(), _BINS, 0, 1).double()
    centres = (torch.arange(_BINS, dtype=torch.float64) + 0.5) / _BINS
    below, sums = counts.cumsum(0), (counts * centres).cumsum(0)
    above, rest = below[-1] - below, sums[-1] - sums
    between = below * above * (sums / below - rest / above).nan_to_num() ** 2
    return (int(between.argmax()) + 1) / _BINS
