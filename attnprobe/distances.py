"""Distances between attention maps, as matrix products."""

from __future__ import annotations

import torch


def symmetric_kl(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """D(x, y) = ½ Σ (x − y)(log x − log y) for all pairs of rows (X, N) and (Y, N): (X, Y).

    Half of KL(x‖y) + KL(y‖x), natural logarithm. Multiplied out it is two matrix products and the
    rows' own entropies. A row that holds an exact zero is at NaN from every row; NaN fails ``<``.
    """
    log_x, log_y = x.log(), y.log()
    own_x, own_y = (x * log_x).sum(1), (y * log_y).sum(1)
    return 0.5 * (own_x[:, None] + own_y - x @ log_y.T - log_x @ y.T)
