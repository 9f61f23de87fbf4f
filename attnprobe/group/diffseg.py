"""DiffSeg's grouping: attention maps merge while their KL divergence is small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, MinLen

from attnprobe.distances import symmetric_kl
from attnprobe.fields import AttentionField, Segmentation
from attnprobe.group.lloyd import kmeans_means
from attnprobe.registry import grouper

_CHUNK = 512
"""Maps compared with the anchors at once."""


def anchor_positions(side: int, anchors: int) -> torch.Tensor:
    """Places of `anchors` cells spread evenly and centred on a side; all cells if there are fewer.

    step = (n − 1) // (m − 1), start = ((n − 1) − step·(m − 1)) // 2.
    """
    anchors = min(anchors, side)
    step = (side - 1) // (anchors - 1) if anchors > 1 else 0
    start = ((side - 1) - step * (anchors - 1)) // 2
    return start + step * torch.arange(anchors)


@grouper("diffseg")
@dataclass(frozen=True)
class DiffSeg:
    """Iterative merging of attention maps by KL divergence (Tian et al., CVPR 2024).

    Pass 1: each anchor becomes the mean of all maps nearer than τ₁. Later passes: proposals nearer
    than τ merge into their mean. A pixel belongs to the proposal that is strongest there. The
    number of segments is an outcome. O(m²·N²) in time, N² + m²·N in memory for m² anchors.

    Args:
        anchors: anchors a side, m; on a grid with a shorter side, all of its cells.
        thresholds: τ of each pass, as many as there are passes.
        variant: ``released``: a merging proposal collects all near ones, those already collected
            included, as the authors' program does; ``paper``: only the unused.
        refine: K-Means on all maps, started from the proposals.
    """

    anchors: Annotated[int, Ge(1)] = 16
    thresholds: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = (1.1, 1.1, 1.1)
    variant: Literal["released", "paper"] = "released"
    refine: bool = False

    def __call__(
        self,
        field: AttentionField,
        *,
        rng: np.random.Generator | None = None,
        truth: np.ndarray | None = None,
    ) -> Segmentation:
        """Segment on the field's grid; proposals (K, H, W) come with the labels."""
        height, width = field.grid
        y, x = anchor_positions(height, self.anchors), anchor_positions(width, self.anchors)
        anchors = field.rows[(y[:, None] * width + x).flatten().to(field.rows.device)]
        proposals = _gather(anchors, field.rows, self.thresholds[0])
        for threshold in self.thresholds[1:]:
            proposals = _merge(proposals, threshold, reuse=self.variant == "released")
        proposals = proposals.float()
        if self.refine:
            proposals = kmeans_means(field.rows, proposals)
        maps = proposals.view(-1, height, width)
        return Segmentation(maps.argmax(0).cpu().numpy(), proposals=maps)


def _gather(anchors: torch.Tensor, rows: torch.Tensor, threshold: float) -> torch.Tensor:
    """Pass 1: the mean of all maps nearer than τ to each anchor; the anchor itself if none is."""
    total = torch.zeros_like(anchors)
    count = anchors.new_zeros(len(anchors), 1)
    for maps in rows.split(_CHUNK):
        near = (symmetric_kl(anchors, maps) < threshold).to(maps)
        total.addmm_(near, maps)
        count += near.sum(1, keepdim=True)
    return torch.where(count > 0, total / count, anchors).double()


def _merge(proposals: torch.Tensor, threshold: float, reuse: bool) -> torch.Tensor:
    """A later pass: walk the proposals in order, each unused one collecting those nearer than τ."""
    near = (symmetric_kl(proposals, proposals) < threshold).cpu()
    near.fill_diagonal_(True)
    used = torch.zeros(len(proposals), dtype=torch.bool)
    merged = []
    for i in range(len(proposals)):
        if used[i]:
            continue
        members = near[i] if reuse else near[i] & ~used
        used |= members
        merged.append(proposals[members.to(proposals.device)].mean(0))
    return torch.stack(merged)
