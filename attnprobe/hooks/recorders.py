"""What is kept of an attention call, reduced while it runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attnprobe.hooks.call import AttentionCall

_CHUNK = 256
"""Queries whose probabilities exist at once."""


@dataclass(frozen=True)
class HeadMean:
    """The mean over heads of the probabilities: (batch, queries, keys) float32.

    Softmax runs head by head on a chunk of queries, in float32 whatever the model's type;
    nothing of the size heads × queries × keys ever exists.
    """

    def record(self, call: AttentionCall, total: torch.Tensor | None) -> torch.Tensor:
        """Add this call's map to the running total, made at the first call."""
        batch, heads, queries, _ = call.query.shape
        shape = (batch, queries, call.key.shape[2])
        if total is None:
            total = torch.zeros(shape, device=call.query.device)
        for item in range(batch):
            for top in range(0, queries, _CHUNK):
                part = slice(top, min(top + _CHUNK, queries))
                for head in range(heads):
                    total[item, part].add_(call.probs(item, head, part), alpha=1 / heads)
        return total
