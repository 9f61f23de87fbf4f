"""How many segments there shall be: the true number, or one of several chosen by a measure."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge
from pydantic import AfterValidator

from attnprobe.errors import ComponentError


def _in_order(given: tuple[int, int]) -> tuple[int, int]:
    if given[0] > given[1]:
        raise ValueError("the least must not be over the most")
    return given


Candidates = Annotated[
    tuple[Annotated[int, Ge(2)], Annotated[int, Ge(2)]], AfterValidator(_in_order)
]
"""The least and the most clusters that are tried."""


def true_count(truth: np.ndarray | None, who: str) -> int:
    """The number of classes in the truth, void (below 0) apart; at least 1.

    Raises:
        ComponentError: there is no truth; `who` asked for it.
    """
    if truth is None:
        raise ComponentError(
            f"{who}: clusters is 'truth', but this image comes with no truth; give a number, or "
            "use images that have one, such as scenes."
        )
    labels = np.unique(truth)
    return max(1, int((labels >= 0).sum()))
