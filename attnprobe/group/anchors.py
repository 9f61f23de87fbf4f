"""The tokens that DiffSeg starts from."""

from __future__ import annotations

from typing import Literal

import numpy as np

from attnprobe.errors import ComponentError
from attnprobe.fields import AttentionField
from attnprobe.lazy import torch

Places = Literal["grid", "random", "tokenrank"]

_STEPS = 200
"""Steps of the Markov chain; the stationary weights of attention are reached in far fewer."""


def anchor_positions(side: int, anchors: int) -> torch.Tensor:
    """Places of `anchors` cells spread evenly and centred on a side; all cells if there are fewer.

    step = (n − 1) // (m − 1), start = ((n − 1) − step·(m − 1)) // 2.
    """
    anchors = min(anchors, side)
    step = (side - 1) // (anchors - 1) if anchors > 1 else 0
    start = ((side - 1) - step * (anchors - 1)) // 2
    return start + step * torch.arange(anchors)


def anchor_tokens(
    field: AttentionField, anchors: int, places: Places, rng: np.random.Generator | None
) -> torch.Tensor:
    """Numbers of the anchors' tokens; at most m², and all tokens where there are fewer.

    Raises:
        ComponentError: random places were asked for without a generator.
    """
    height, width = field.grid
    device = field.rows.device
    if places == "grid":
        y, x = anchor_positions(height, anchors), anchor_positions(width, anchors)
        return (y[:, None] * width + x).flatten().to(device)
    count = min(anchors**2, height * width)
    if places == "tokenrank":
        return token_rank(field.rows).sort(descending=True, stable=True).indices[:count]
    if rng is None:
        raise ComponentError("DiffSeg.places: random needs a generator; call it with rng.")
    chosen = np.sort(rng.choice(height * width, count, replace=False))
    return torch.from_numpy(chosen).to(device)


def token_rank(rows: torch.Tensor) -> torch.Tensor:
    """(N,) weights of the tokens where a walk along the attention ends up; they sum to 1.

    The stationary distribution of the Markov chain A, from a uniform start (Erel et al. 2025,
    "Attention (as Discrete-Time Markov) Chains", arXiv 2507.17657). Each step is half of a step
    of A, so that it settles on periodic chains too. O(N²) a step.
    """
    weights = rows.new_full((len(rows),), 1 / len(rows))
    for _ in range(_STEPS):
        before, weights = weights, 0.5 * (weights + weights @ rows)
        weights = weights / weights.sum()
        if (weights - before).abs().sum() < 1e-6:
            break
    return weights
