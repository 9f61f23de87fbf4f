"""Attention as a Markov chain: where its walks are in the long run, and where they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from attnprobe.aggregate.multiscale import Multiscale
from attnprobe.fields import AttentionField
from attnprobe.lazy import torch
from attnprobe.registry import aggregator


@aggregator("markov")
@dataclass(frozen=True)
class Markov:
    """The attention chain of DiffSeg's weighted sum A, made reversible or run until it ends.

    A walk goes from token to token by the rows of A (Erel et al. 2025, attention as discrete-time
    Markov chains) and stops with chance s at each step.

    ``absorbing``: each row becomes where a walk from that token ends, R = s (I − (1 − s) A)⁻¹, the
    partially absorbing random walk (Wu et al. 2012; with restarts, Tong et al. 2006).

    ``stationary``: a walk that stops begins anew at any token. Its stationary weights π, which are
    PageRank's and the columns' means of R, weigh the flow in both directions: the chain
    P = (1 − s) A + s/N becomes ½(P + diag(π)⁻¹ Pᵀ diag(π)), its additive reversibilisation
    (Fill 1991). So π_i F_ij = π_j F_ji: the flow between two tokens is symmetric, as Laplacians of
    directed graphs have it (Chung 2005).

    O(N³) in time; memory is eight times the field's, for it is solved in float64.

    Args:
        weights: ``stationary`` or ``absorbing``.
        stop: s, the chance that a walk stops at each step; less than 1e-9 leaves rounding alone.
    """

    weights: Literal["stationary", "absorbing"] = "absorbing"
    stop: Annotated[float, Ge(1e-9), Lt(1)] = 0.15

    def __call__(self, fields: Sequence[AttentionField]) -> AttentionField:
        """Fold one field a layer into one on the finest grid."""
        field = Multiscale()(fields)
        chain = field.rows.double()
        chain /= chain.sum(1, keepdim=True)
        rows = self._ends(chain) if self.weights == "absorbing" else self._reversible(chain)
        return AttentionField(rows / rows.sum(1, keepdim=True), field.grid, origin="markov")

    def _ends(self, chain: torch.Tensor) -> torch.Tensor:
        ends = torch.linalg.inv(self._system(chain)).mul_(self.stop)
        return ends.clamp_(min=0)  # rounding may leave a zero just below

    def _reversible(self, chain: torch.Tensor) -> torch.Tensor:
        n = len(chain)
        stationary = torch.linalg.solve(self._system(chain).T, chain.new_full((n,), self.stop / n))
        chain = chain.mul(1 - self.stop).add_(self.stop / n)
        back = chain.T * stationary / stationary[:, None]
        return back.add_(chain).mul_(0.5)

    def _system(self, chain: torch.Tensor) -> torch.Tensor:
        """I − (1 − s) A."""
        system = chain * (self.stop - 1)
        system.diagonal().add_(1)
        return system
