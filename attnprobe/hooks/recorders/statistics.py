"""Recorders of small statistics of the maps: how spread each is, and its largest entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge

from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.recorders.base import Recorder, Value
from attnprobe.registry import checked


@checked
@dataclass(frozen=True)
class Entropy(Recorder):
    """Entropy −Σ p ln p of every head's maps in nats: (batch, heads, queries) float32.

    Examples:
        >>> layers = ap.Layers(kind="self", block="mid")
        >>> with ap.capture(pipe.unet, layers, ap.Entropy()) as seen:
        ...     picture = pipe("a red disc", num_inference_steps=1).images[0]
        >>> seen["mid_block.attentions.0.transformer_blocks.0.attn1"].shape  # a step first
        torch.Size([1, 2, 4, 64])
    """

    def record(self, call: AttentionCall) -> torch.Tensor:
        batch, heads, queries, _ = call.shape
        kept = call.q.new_empty((batch, heads, queries), dtype=torch.float32)
        for rows, probs in call.chunks():
            torch.sum(torch.special.entr(probs), 3, out=kept[:, :, rows])
        return kept


@checked
@dataclass(frozen=True)
class TopK(Recorder):
    """The k largest entries of each head-mean map, largest first.

    A dict of ``values`` (batch, queries, k) float32 and ``indices`` (batch, queries, k) int32,
    numbers of keys.

    Args:
        k: how many entries; all keys where a layer has fewer.

    Examples:
        >>> layers = ap.Layers(kind="self", block="mid")
        >>> with ap.capture(pipe.unet, layers, ap.TopK(4)) as seen:
        ...     picture = pipe("a red disc", num_inference_steps=1).images[0]
        >>> seen["mid_block.attentions.0.transformer_blocks.0.attn1"]["indices"].shape
        torch.Size([1, 2, 64, 4])
    """

    k: Annotated[int, Ge(1)] = 8

    probabilities = True

    def record(self, call: AttentionCall) -> Value:
        k = min(self.k, call.shape[3])
        found = [call.over_heads(probs).topk(k, 2) for _, probs in call.chunks()]
        values = torch.cat([top.values for top in found], 1)
        indices = torch.cat([top.indices for top in found], 1)
        return {"values": values, "indices": indices.to(torch.int32)}
