"""The golden cases: stored features, the attention rebuilt from them, and what is expected."""

from pathlib import Path

import numpy as np

CASES = (0, 1, 4, 5)
RESOLUTIONS = (64, 32, 16, 8)


def load(name: str) -> dict[str, np.ndarray]:
    """A golden file's arrays by name, such as ``load("case0")``."""
    with np.load(Path(__file__).with_name(f"{name}.npz")) as file:
        return dict(file)


def attention(features: np.ndarray, sharp: float) -> np.ndarray:
    """Features (n, d) float32 -> row-stochastic attention (n, n) float32."""
    f = features.astype(np.float64)
    squares = (f**2).sum(1)
    logits = -sharp * (squares[:, None] + squares[None] - 2 * f @ f.T)
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
