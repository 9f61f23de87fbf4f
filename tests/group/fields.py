"""Fields with known groups, for the tests of groupers."""

import numpy as np
import torch

from attnprobe import AttentionField


def grouped(groups: np.ndarray, noise: float = 0.3, strength: float = 2.0) -> AttentionField:
    """A field on the grid of `groups` whose tokens look at their own group, with some noise."""
    generator = torch.Generator().manual_seed(0)
    owner = torch.from_numpy(groups.ravel())
    n = len(owner)
    logits = strength * (owner[:, None] == owner) + noise * torch.randn(n, n, generator=generator)
    return AttentionField(logits.softmax(1), groups.shape)


def blocks(*sizes: int) -> AttentionField:
    """Groups in a row that look at themselves alone, evenly: exact zeros everywhere else."""
    rows = torch.block_diag(*[torch.full((size, size), 1 / size) for size in sizes])
    return AttentionField(rows, (1, sum(sizes)))


def uniform(height: int, width: int) -> AttentionField:
    n = height * width
    return AttentionField(torch.full((n, n), 1 / n), (height, width))


def thirds(height: int, width: int) -> np.ndarray:
    """Three groups, side by side."""
    return np.repeat(np.arange(width)[None] * 3 // width, height, axis=0)


def permuted(field: AttentionField, order: np.ndarray) -> AttentionField:
    """The same tokens in another order."""
    index = torch.from_numpy(order)
    return AttentionField(field.rows[index][:, index], field.grid)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)
