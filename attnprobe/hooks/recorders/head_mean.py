"""The mean over heads of the probabilities: the one reduction that must be fast.

A chunk of queries at a time, of all heads: one product makes the logits, one more weighs and sums
the heads. Between them lies the softmax, or, where the kernel's own normaliser was seen, nothing
but the exponential. Chunk and buffers stay in the processor's cache and are made once.
"""

from __future__ import annotations

import math

import torch

from attnprobe.hooks.call import AttentionCall, without_blind

_ELEMENTS = 1 << 22
"""Probabilities that exist at once, of all heads: 16 MiB."""

_DEEP = -87.0
"""The log of the least normal float32, about."""

_REACH = 16.0
"""Logits up to this are rounded so little that probabilities err by less than 5e-6."""

_OFF = 2e-6
"""How far from one the probabilities of a row may sum."""


def head_mean(call: AttentionCall) -> torch.Tensor:
    """Mean over heads of a call's probabilities, (batch, queries, keys) float32.

    A row masked altogether is zero, as in the output of PyTorch's kernels; NaN stays NaN.
    """
    if call.weights is not None:
        return torch.cat([call.over_heads(probs) for _, probs in call.chunks()], 1)
    batch, heads, queries, keys = call.shape
    mask = None if call.mask is None else call.mask.expand(call.shape)
    # a mask of −1e4 makes the normaliser too coarse, and a row that sees nothing has none
    logsumexp = None if mask is not None or call.is_causal else _finite(call.logsumexp)
    total = call.q.new_empty((batch, queries, keys), dtype=torch.float32)
    weights = total.new_tensor([call.shares or [1 / heads] * heads])
    step = min(queries, max(1, _ELEMENTS // (heads * keys)))
    # a fresh block a chunk would cost more in page faults than the softmax in it
    buffers = total.new_empty(1 if logsumexp is not None else 2, heads * step * keys)
    for item in range(batch):
        q, k = call.q[item].float() * call.scale, call.k[item].float()
        if call.grouped:
            k = k.repeat_interleave(heads // len(k), 0)
        if logsumexp is not None:
            reach = _reach(q, k)
            low = reach + logsumexp[item].abs().max().item()
            q, k = _with_normaliser(q, k, logsumexp[item].float())
        keys_last = k.mT.contiguous()  # a little faster for the product than a view
        for top in range(0, queries, step):
            rows = slice(top, min(top + step, queries))
            size = (heads, rows.stop - top, keys)
            logits, probs = (b[: math.prod(size)].view(size) for b in (buffers[0], buffers[-1]))
            torch.bmm(q[:, rows], keys_last, out=logits)
            if logsumexp is not None:
                _exp_(logits, deep=low > -_DEEP, far=reach > _REACH)
            else:
                if call.is_causal:
                    logits.masked_fill_(_ahead(rows, keys, logits.device), -math.inf)
                if mask is not None:
                    _hide_(logits, mask[item, :, rows])
                probs = without_blind(torch.softmax(logits, -1, out=probs), logits)
            total[item, rows].view(1, -1).addmm_(weights, probs.view(heads, -1), beta=0)
    return total


def _finite(logsumexp: torch.Tensor | None) -> torch.Tensor | None:
    """The normaliser, if every row has one: rows that are no numbers are the softmax's matter."""
    return logsumexp if logsumexp is not None and logsumexp.isfinite().all() else None


def _reach(q: torch.Tensor, k: torch.Tensor) -> float:
    """What no logit exceeds in size (Cauchy and Schwarz)."""
    return (q.norm(dim=2).amax(1) * k.norm(dim=2).amax(1)).max().item()


def _with_normaliser(
    q: torch.Tensor, k: torch.Tensor, logsumexp: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """q and k with a column more, so that q kᵀ is the log of the probabilities."""
    return (
        torch.cat([q, -logsumexp[..., None]], 2),
        torch.cat([k, k.new_ones(*k.shape[:2], 1)], 2),
    )


def _exp_(logits: torch.Tensor, deep: bool, far: bool) -> None:
    """Probabilities in place of their logs.

    `deep`: some may be no normal float32, where the processor's exponential is 60 times slower.
    `far`: logits so large that the kernel's rounding of them and ours may differ.
    """
    if deep:
        logits.clamp_(min=_DEEP)
    logits.exp_()
    if far:
        sums = logits.sum(2, keepdim=True)
        if (sums - 1).abs().max() > _OFF:
            logits /= sums


def _ahead(rows: slice, keys: int, device: torch.device) -> torch.Tensor:
    places = torch.arange(rows.start, rows.stop, device=device)
    return torch.arange(keys, device=device) > places[:, None]


def _hide_(logits: torch.Tensor, mask: torch.Tensor) -> None:
    if mask.dtype == torch.bool:
        logits.masked_fill_(~mask, -math.inf)
    else:
        logits += mask
