"""Leading eigenvectors of an affinity's normalised Laplacian, and the clusters they stand for."""

from __future__ import annotations

import inspect

import numpy as np

from attnprobe.lazy import torch

_DENSE = 200
"""Tokens up to which all eigenvectors are computed, which is then faster than some."""

TOLERANCE = 1e-5
"""Relative residual of an eigenpair that is found; float32 gives little better."""

_RESTARTS = 100
"""Restarts of Lanczos before the matrix is solved in full, which always ends."""


def inverse_roots(affinity: torch.Tensor) -> torch.Tensor:
    """The diagonal (N,) of D^-½, D being the sums of an affinity's rows."""
    return affinity.sum(1).clamp(min=torch.finfo(affinity.dtype).tiny).rsqrt()


def normalized(affinity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """D^-½ S D^-½ of a symmetric affinity S (N, N), and the diagonal of D^-½ (N,)."""
    scale = inverse_roots(affinity)
    return (affinity * scale).mul_(scale[:, None]), scale


def leading(
    matrix: torch.Tensor,
    count: int,
    rng: np.random.Generator,
    scale: torch.Tensor | None = None,
    tolerance: float = TOLERANCE,
) -> tuple[np.ndarray, torch.Tensor]:
    """The `count` largest eigenvalues, descending, of a symmetric matrix and their vectors (N, K).

    Large ones by implicitly restarted Lanczos (SciPy's ARPACK), to which the matrix is only a
    product, so it stays on its device; small ones, or where nearly all are wanted, in full. Not by
    LOBPCG (Knyazev 2001): for 2 to 13 vectors of 4096 tokens SciPy's took as long and left
    residuals a hundred times as large, PyTorch's took two to seven times as long. With a `scale`
    (N,) of rows and columns, such as `inverse_roots`, the scaled matrix's, which isn't made.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    n = len(matrix)
    count = min(count, n)
    scale = matrix.new_ones(n) if scale is None else scale

    def in_full() -> tuple[np.ndarray, torch.Tensor]:
        return _in_full(matrix * scale * scale[:, None], count)

    if n <= _DENSE or 4 * count >= n:
        return in_full()

    def product(vector: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(np.array(vector, np.float32).ravel()).to(matrix.device)
        return (scale * (matrix @ (scale * given))).cpu().numpy()

    start = rng.random(n, dtype=np.float32)
    # From SciPy 1.17 on ARPACK takes the generator that it restarts from.
    seeded = {"rng": rng} if "rng" in inspect.signature(eigsh).parameters else {}
    operator = LinearOperator((n, n), matvec=product, dtype=np.float32)
    try:
        values, vectors = eigsh(
            operator, count, which="LA", v0=start, tol=tolerance, maxiter=_RESTARTS, **seeded
        )
    except ArpackNoConvergence:  # eigenvalues too near to each other
        return in_full()
    order = np.argsort(-values, kind="stable")
    return values[order], torch.from_numpy(vectors[:, order].copy()).to(matrix)


def _in_full(matrix: torch.Tensor, count: int) -> tuple[np.ndarray, torch.Tensor]:
    values, vectors = torch.linalg.eigh(matrix.double())
    return values.flip(0)[:count].cpu().numpy(), vectors.flip(1)[:, :count].to(matrix)


def by_pivots(embedding: torch.Tensor) -> torch.Tensor:
    """The embedding (N, K) turned so that each column stands for a cluster, by pivoted QR.

    Damle, Minden & Ying 2019, "Simple, direct and efficient multi-way spectral clustering".
    """
    from scipy.linalg import qr

    points = embedding.cpu().double().numpy()
    count = points.shape[1]
    _, pivots = qr(points.T, mode="r", pivoting=True)
    left, _, right = np.linalg.svd(points[pivots[:count]].T)
    return torch.from_numpy(np.abs(points @ (left @ right))).to(embedding)
