"""Fields and pictures whose right segments are known."""

import numpy as np
import torch
from PIL import Image

from attnprobe import AttentionField


def block_field(labels: np.ndarray, leak: float = 0.1) -> AttentionField:
    """Tokens of a label look at their own label's, and a little at everything."""
    flat = labels.ravel()
    same = (flat[:, None] == flat).astype(np.float64)
    rows = (1 - leak) * same / same.sum(1, keepdims=True) + leak / flat.size
    return AttentionField(torch.from_numpy(rows), labels.shape)


def random_field(grid: tuple[int, int], seed: int = 0) -> AttentionField:
    n = grid[0] * grid[1]
    logits = torch.randn(n, n, generator=torch.Generator().manual_seed(seed))
    return AttentionField(logits.softmax(1), grid)


def picture_of(labels: np.ndarray, seed: int = 0) -> Image.Image:
    """Each label in a colour of its own, with a little noise."""
    colours = np.array([(200, 60, 30), (30, 90, 200), (60, 180, 70), (230, 220, 40)])
    noise = np.random.default_rng(seed).integers(-6, 7, (*labels.shape, 3))
    return Image.fromarray((colours[labels] + noise).clip(0, 255).astype(np.uint8))


def disc(size: int = 96) -> np.ndarray:
    y, x = np.mgrid[:size, :size] + 0.5
    return ((y - 0.45 * size) ** 2 + (x - 0.55 * size) ** 2 < (0.3 * size) ** 2).astype(int)
