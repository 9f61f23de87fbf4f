"""What an observer is told of one attention call."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attnprobe.hooks.layers import Layer


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """The tensors of one call of scaled dot-product attention, as the kernel saw them.

    They are the model's own, after norms and position embeddings: read, never written.

    Args:
        layer: whose call it is.
        query: (batch, heads, queries, width).
        key: (batch, heads, keys, width).
        value: (batch, heads, keys, width).
        mask: what was added to the logits (or, if bool, kept of them), or None.
        scale: factor of the logits.
        is_causal: whether queries see only keys up to their own place.
        output: (batch, heads, queries, width).
    """

    layer: Layer
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None
    scale: float
    is_causal: bool
    output: torch.Tensor

    def probs(self, item: int, head: int, queries: slice = slice(None)) -> torch.Tensor:
        """Probabilities (queries, keys) in float32 of one batch item's head.

        Recomputed from query and key by softmax(scale · q kᵀ + mask); a chunk of the queries can
        be asked for, so that nothing large need exist.
        """
        logits = (self.query[item, head, queries].float() * self.scale) @ self.key[
            item, head
        ].float().T
        if self.is_causal:
            places = torch.arange(self.query.shape[2], device=logits.device)[queries]
            ahead = torch.arange(logits.shape[1], device=logits.device) > places[:, None]
            logits.masked_fill_(ahead, float("-inf"))
        if self.mask is not None:
            mask = self.mask.expand(*self.query.shape[:3], logits.shape[1])[item, head, queries]
            if mask.dtype == torch.bool:
                logits.masked_fill_(~mask, float("-inf"))
            else:
                logits += mask
        return logits.softmax(1)
