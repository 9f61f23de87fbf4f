"""DiffSeg's grouping: attention maps merge while their KL divergence is small."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, MinLen

from attnprobe.distances import symmetric_kl
from attnprobe.errors import ComponentError, SettingWarning
from attnprobe.fields import AttentionField, Segmentation
from attnprobe.group.lloyd import kmeans_means
from attnprobe.lazy import torch
from attnprobe.registry import grouper

_CHUNK = 512
"""Maps compared with the anchors at once."""

PASSES = 3
"""Passes of the published method."""

Places = Literal["grid", "random", "tokenrank"]

_STEPS = 200
"""Steps of the Markov chain; the stationary weights of attention are reached in far fewer."""

Tau = Annotated[float, Gt(0)]


@grouper("diffseg")
@dataclass(frozen=True)
class DiffSeg:
    """Iterative merging of attention maps by KL divergence (Tian et al., CVPR 2024).

    Pass 1: each anchor becomes the mean of all maps nearer than τ₁. Later passes: proposals nearer
    than τ merge into their mean. A pixel belongs to the proposal that is strongest there. The
    number of segments is an outcome. O(m²·N²) in time, N² + m²·N in memory for m² anchors.

    Args:
        anchors: anchors a side, m; on a grid with a shorter side, all of its cells.
        thresholds: τ of each pass, as many as there are passes; a number is that of all three.
        variant: ``released``: a merging proposal collects all near ones, those already collected
            included, as the authors' program does; ``paper``: only the unused.
        refine: K-Means on all maps, started from the proposals.
        places: where the m² anchors lie: on a ``grid``, as published; at ``random``; or at the
            tokens of highest ``tokenrank``, where the attention's Markov chain stays the most
            (Erel et al. 2025).
        min_area: proposals that win fewer tokens than this lose them to the next best.
    """

    anchors: Annotated[int, Ge(1)] = 16
    thresholds: Annotated[tuple[Tau, ...], MinLen(1)] | Tau = (1.1, 1.1, 1.1)
    variant: Literal["released", "paper"] = "released"
    refine: bool = False
    places: Places = "grid"
    min_area: Annotated[int, Ge(0), Le(2**31 - 1)] = 0

    def __post_init__(self) -> None:
        if isinstance(self.thresholds, tuple) and len(self.thresholds) == 1:
            tau = self.thresholds[0]
            warnings.warn(
                f"DiffSeg.thresholds: [{tau}] is one pass, which merges no proposals; "
                f"the number {tau} alone is the threshold of all {PASSES} passes",
                SettingWarning,
                stacklevel=2,
            )

    @property
    def passes(self) -> tuple[float, ...]:
        """τ of each pass."""
        if isinstance(self.thresholds, tuple):
            return self.thresholds
        return (float(self.thresholds),) * PASSES

    def __call__(
        self,
        field: AttentionField,
        *,
        rng: np.random.Generator | None = None,
        truth: np.ndarray | None = None,
    ) -> Segmentation:
        """Segment on the field's grid; proposals (K, H, W) come with the labels."""
        anchors = field.rows[anchor_tokens(field, self.anchors, self.places, rng)]
        first, *later = self.passes
        proposals = _gather(anchors, field.rows, first)
        for threshold in later:
            proposals = _merge(proposals, threshold, reuse=self.variant == "released")
        proposals = proposals.float()
        if self.refine:
            proposals = kmeans_means(field.rows, proposals)
        if self.min_area:
            proposals = _without_small(proposals, self.min_area)
        maps = proposals.view(-1, *field.grid)
        return Segmentation(maps.argmax(0).cpu().numpy(), proposals=maps)

    def with_threshold(self, threshold: float) -> DiffSeg:
        """The same with one threshold for all of its passes."""
        with warnings.catch_warnings():  # of a single pass was told when this one was made
            warnings.simplefilter("ignore", SettingWarning)
            return replace(self, thresholds=(threshold,) * len(self.passes))


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


def _without_small(proposals: torch.Tensor, area: int) -> torch.Tensor:
    """Those that win at least `area` tokens; if none does, the one that wins the most."""
    won = torch.bincount(proposals.argmax(0), minlength=len(proposals))
    return proposals[won >= area] if won.max() >= area else proposals[[int(won.argmax())]]


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
