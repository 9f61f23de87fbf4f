"""Segmentations from what groupers end in: scores of each token for each segment, or labels."""

from __future__ import annotations

import numpy as np
from einops import rearrange

from attnprobe.fields import Segmentation, Size
from attnprobe.lazy import F, torch


def from_scores(scores: torch.Tensor, grid: Size) -> Segmentation:
    """Each token (N, K) to its highest score, the first of equals; the scores are the proposals.

    Segments that no token chooses are left out. Each token's lowest score is taken from all of its
    scores, so that proposals are 0 or more; that changes no argmax, enlarged or not.
    """
    scores = scores[:, scores.argmax(1).unique()]
    maps = (scores - scores.amin(1, keepdim=True)).T.contiguous().view(-1, *grid)
    return Segmentation(maps.argmax(0).cpu().numpy(), proposals=maps.float())


def from_labels(labels: np.ndarray, grid: Size) -> Segmentation:
    """Labels (N,) of any numbers, renumbered from 0; the segments' masks are the proposals.

    Masks enlarged bilinearly have smoother borders than labels taken nearest.
    """
    _, numbers = np.unique(labels, return_inverse=True)
    masks = rearrange(
        F.one_hot(torch.from_numpy(numbers.reshape(grid))), "h w segment -> segment h w"
    )
    return Segmentation(numbers.reshape(grid), proposals=masks.float().contiguous())
