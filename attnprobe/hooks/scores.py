"""The third tap: layers that compute their probabilities by themselves and then multiply by them.

The classic and the sliced processors, and those that steer attention, ask
``Attention.get_attention_scores`` for probabilities, may write into them, and multiply the values
by them. What they multiplied is what is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange

from attnprobe.hooks.kernel import Kernel
from attnprobe.hooks.overrides import Override


@dataclass(frozen=True, eq=False)
class Scored:
    """What goes into ``get_attention_scores`` and comes out: (batch · heads, tokens, …).

    Args:
        probs: what came out; the layer may still write into it.
        query: queries, `key` likewise.
        key: keys.
        mask: added to the logits, or None.
        scale: factor of the logits.
        heads: how many the first axis holds of each item.
        before: a copy of `probs` in half precision as they came out of diffusers' own method, else
            None.
        value: what they were multiplied with, `out` what that made.
        out: the product.
    """

    probs: torch.Tensor
    query: torch.Tensor
    key: torch.Tensor
    mask: torch.Tensor | None
    scale: float
    heads: int
    before: torch.Tensor | None = None
    value: torch.Tensor | None = None
    out: torch.Tensor | None = None

    @property
    def as_computed(self) -> bool:
        """Whether more digits of the same probabilities are to be had from queries and keys."""
        return self.before is not None and torch.equal(self.before, self.probs)


def scoring(override: Override) -> Any:
    """A method that computes probabilities as the one it overrides, and tells the listeners."""
    module = override.owner
    # Somebody's own method may compute something else than the softmax.
    diffusers = str(getattr(override.original, "__module__", "")).startswith("diffusers.models.")

    def get_attention_scores(
        query: torch.Tensor, key: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        probs = override.original(query, key, attention_mask)
        listening = [tap for tap in override.listeners if tap.layer is not None]
        if listening:
            before = probs.clone() if diffusers and probs.itemsize < 4 else None
            score = Scored(probs, query, key, attention_mask, module.scale, module.heads, before)
            for tap in listening:
                tap.scored(score)
        return probs

    return get_attention_scores


def from_scores(parts: list[Scored]) -> Kernel:
    """The call that slices of it make up, in order."""
    heads = parts[0].heads

    def apart(tensors: list[Any]) -> torch.Tensor:
        whole = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
        return rearrange(whole, "(batch heads) ... -> batch heads ...", heads=heads)

    mask = None
    if parts[0].mask is not None:
        mask = apart([p.mask.expand(len(p.query), -1, -1) for p in parts if p.mask is not None])
    exact = all(part.as_computed for part in parts)
    return Kernel(
        q=apart([part.query for part in parts]),
        k=apart([part.key for part in parts]),
        v=apart([part.value for part in parts]),
        mask=mask,
        scale=parts[0].scale,
        is_causal=False,
        out=apart([part.out for part in parts]),
        weights=None if exact else apart([part.probs for part in parts]),
    )
