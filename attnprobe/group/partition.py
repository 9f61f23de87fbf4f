"""A partition of a graph into K parts, and how its normalised cut is made cheaper."""

from __future__ import annotations

import numpy as np

from attnprobe.lazy import F, torch

_ARMIJO = 1e-4
"""Share of the rise that the gradient foretells which a step must reach (Armijo 1966)."""

_INERTIA = 2.0
"""By what inertia is multiplied when a step was too long."""

_CHAIN = 16
"""Moves of one token each that are tried in a row, the first of them perhaps for the worse."""

_LEAST = 1e-9
"""A rise of Σ q/v below this is rounding."""


class Partition:
    """Labels 0 to K − 1 of the nodes of a graph, none unused, and what its cut is made of.

    With one-hot labels X: G = S X; q_k = x_kᵀ S x_k and v_k = x_kᵀ D x_k, the affinity within
    part k and its volume. Σ q_k / v_k is K less the normalised cut, so the larger the better.

    Args:
        affinity: S (N, N), symmetric, none below 0.
        labels: (N,) the part of each node.
        count: K.
    """

    def __init__(self, affinity: torch.Tensor, labels: torch.Tensor, count: int) -> None:
        self.affinity = affinity
        self.degrees = affinity.sum(1).double()
        self.own = affinity.diagonal().double()
        self.count = count
        self.labels = labels
        self.linked = (affinity @ self.members.to(affinity)).double()
        self._measure()

    @property
    def members(self) -> torch.Tensor:
        """X (N, K)."""
        return F.one_hot(self.labels, self.count).double()

    def _measure(self) -> None:
        members = self.members
        self.within = (members * self.linked).sum(0)
        self.volumes = self.degrees @ members
        self.sizes = members.sum(0)
        self.value = float((self.within / self.volumes).nan_to_num(nan=0.0).sum())

    def moved(self, labels: torch.Tensor) -> Partition:
        """The partition with other labels; only rows of nodes that move are read."""
        there = (labels != self.labels).nonzero()[:, 0]
        other = object.__new__(Partition)
        other.__dict__.update(self.__dict__)
        change = F.one_hot(labels[there], self.count) - F.one_hot(self.labels[there], self.count)
        rows = self.affinity[there]
        other.linked = self.linked + (rows.T @ change.to(rows)).double()
        other.labels = labels
        other._measure()
        return other

    @property
    def whole(self) -> bool:
        """Whether no part is empty."""
        return bool((self.sizes > 0).all())

    def gradient(self) -> torch.Tensor:
        """μ = 2 (G/v − D X q/v²), of Σ q/v by the entries of X: (N, K)."""
        lost = self.degrees[:, None] * self.members * (self.within / self.volumes**2)
        return 2 * (self.linked / self.volumes - lost)

    def gains(self) -> torch.Tensor:
        """By how much Σ q/v rises if a node goes over to a part: (N, K), −∞ where it can't.

        A node can't go where it is, nor leave a part empty. Exact, as a gradient isn't.
        """
        q, v, at = self.within, self.volumes, self.labels[:, None]
        shares = q / v
        here = self.linked.gather(1, at)[:, 0]
        left = (q[self.labels] - 2 * here + self.own) / (v[self.labels] - self.degrees)
        leaving = (left - shares[self.labels]).masked_fill(self.sizes[self.labels] <= 1, -torch.inf)
        joined = (q + 2 * self.linked + self.own[:, None]) / (v + self.degrees[:, None])
        return (leaving[:, None] + joined - shares).scatter(1, at, -torch.inf)


def climbed(partition: Partition) -> Partition:
    """Falcon's steps while they rise (Zhang et al., ICLR 2026): x_i ← argmax_k μ_ik + τ X_ik.

    All nodes at once, towards the gradient, each held by the inertia τ to where it is. A step that
    doesn't reach a share of what the gradient foretells is made again with more inertia, until none
    would move.
    """
    inertia = 1 / len(partition.labels)
    while True:
        gradient, here = partition.gradient(), partition.labels[:, None]
        labels = (gradient + inertia * partition.members).argmax(1)
        if torch.equal(labels, partition.labels):
            return partition
        foretold = (gradient.gather(1, labels[:, None]) - gradient.gather(1, here)).sum()
        step = partition.moved(labels)
        if step.whole and step.value >= partition.value + _ARMIJO * foretold:
            partition = step
        else:
            inertia *= _INERTIA


def settled(partition: Partition) -> Partition:
    """All nodes at once to where a move of each alone would gain the most, or the better half.

    Ends where no single move gains. A step that doesn't rise is made again with half its nodes,
    those that gain the most; a last one alone gains what was said.
    """
    while True:
        gains, parts = partition.gains().max(1)
        going = gains.argsort(descending=True)[: int((gains > _LEAST).sum())]
        while len(going):
            labels = partition.labels.clone()
            labels[going] = parts[going]
            step = partition.moved(labels)
            if step.whole and step.value > partition.value:
                break
            going = going[: len(going) // 2]
        if not len(going):
            return partition
        partition = step


def chained(partition: Partition) -> Partition:
    """Chains of single moves while they rise (Kernighan & Lin 1970; Fiduccia & Mattheyses 1982).

    In a chain the best move is made and its node stays there, though the value fall; the chain is
    kept up to where it was highest.
    """
    while True:
        best = at = partition
        free = torch.ones_like(at.labels, dtype=torch.bool)
        for _ in range(min(_CHAIN, len(free))):
            gains = at.gains().masked_fill(~free[:, None], -torch.inf)
            node, part = np.unravel_index(int(gains.argmax()), gains.shape)
            if gains[node, part] == -torch.inf:
                break
            labels = at.labels.clone()
            labels[node], free[node] = int(part), False
            at = at.moved(labels)
            best = at if at.value > best.value else best
        if best.value <= partition.value + _LEAST:
            return partition
        partition = best
