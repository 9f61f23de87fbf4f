"""The mean over heads of the probabilities: the one reduction that must be fast."""

from __future__ import annotations

import torch

from attnprobe.hooks.call import AttentionCall


def head_mean(call: AttentionCall) -> torch.Tensor:
    """Mean over heads of a call's probabilities, (batch, queries, keys) float32."""
    batch, _, queries, keys = call.shape
    kept = call.q.new_empty((batch, queries, keys), dtype=torch.float32)
    for rows, probs in call.chunks():
        torch.mean(probs, 1, out=kept[:, rows])
    return kept
