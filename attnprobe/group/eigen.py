"""Leading eigenvectors of an affinity's normalised Laplacian."""

from __future__ import annotations

import inspect

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

_DENSE = 200
"""Tokens up to which all eigenvectors are computed, which is then faster than some."""

_TOLERANCE = 1e-5
"""Relative residual of an eigenpair that is found; float32 gives little better."""

_RESTARTS = 100
"""Restarts of Lanczos before the matrix is solved in full, which always ends."""

_SEEDED = "rng" in inspect.signature(eigsh).parameters
"""Whether ARPACK takes the generator it restarts from, as it does from SciPy 1.17 on."""


def normalized(affinity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """D^-½ S D^-½ of a symmetric affinity S (N, N), and the diagonal of D^-½ (N,)."""
    scale = affinity.sum(1).clamp(min=torch.finfo(affinity.dtype).tiny).rsqrt()
    return (affinity * scale).mul_(scale[:, None]), scale


def leading(
    matrix: torch.Tensor, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, torch.Tensor]:
    """The `count` largest eigenvalues, descending, of a symmetric matrix and their vectors (N, K).

    Large ones by implicitly restarted Lanczos (SciPy's ARPACK), to which the matrix is only a
    product, so it stays on its device; small ones, or where nearly all are wanted, in full. Not by
    LOBPCG (Knyazev 2001): for 2 to 13 vectors of 4096 tokens SciPy's took as long and left
    residuals a hundred times as large, PyTorch's took two to seven times as long.
    """
    n = len(matrix)
    count = min(count, n)
    if n <= _DENSE or 4 * count >= n:
        return _in_full(matrix, count)

    def product(vector: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(np.array(vector, np.float32).ravel()).to(matrix.device)
        return (matrix @ given).cpu().numpy()

    start = rng.random(n, dtype=np.float32)
    seeded = {"rng": rng} if _SEEDED else {}
    operator = LinearOperator((n, n), matvec=product, dtype=np.float32)
    try:
        values, vectors = eigsh(
            operator, count, which="LA", v0=start, tol=_TOLERANCE, maxiter=_RESTARTS, **seeded
        )
    except ArpackNoConvergence:  # eigenvalues too near to each other
        return _in_full(matrix, count)
    order = np.argsort(-values, kind="stable")
    return values[order], torch.from_numpy(vectors[:, order].copy()).to(matrix)


def _in_full(matrix: torch.Tensor, count: int) -> tuple[np.ndarray, torch.Tensor]:
    values, vectors = torch.linalg.eigh(matrix.double())
    return values.flip(0)[:count].cpu().numpy(), vectors.flip(1)[:, :count].to(matrix)
