"""Attention calls made by hand, and attention written out in float64 to hold them against."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from attnprobe.hooks import AttentionCall, Layer, Tokens

LAYER = Layer("block.attn", "self", heads=0)


class InChunks(AttentionCall):
    """A call that is gone through a few elements at a time."""

    elements = 1 << 24

    def chunks(self, elements: int = 0):
        return super().chunks(self.elements)


def random_call(
    shape: tuple[int, int, int, int],
    *,
    key_heads: int = 0,
    mask: torch.Tensor | None = None,
    causal: bool = False,
    dtype: torch.dtype = torch.float32,
    queries: Tokens | None = None,
    keys: Tokens | None = None,
    seed: int = 0,
    elements: int = 1 << 24,
) -> AttentionCall:
    """A call of shape (batch, heads, queries, keys) of normal numbers."""
    batch, heads, rows, columns = shape
    draw = torch.Generator().manual_seed(seed)
    q = torch.randn(batch, heads, rows, 8, generator=draw).to(dtype) * 2
    k = torch.randn(batch, key_heads or heads, columns, 8, generator=draw).to(dtype)
    v = torch.randn(batch, key_heads or heads, columns, 8, generator=draw).to(dtype)
    out = torch.randn(batch, heads, rows, 8, generator=draw).to(dtype)
    queries, keys = queries or Tokens(), keys or Tokens()
    call = InChunks(LAYER, 0, q, k, v, mask, 8**-0.5, causal, out, queries, keys)
    object.__setattr__(call, "elements", elements)
    return call


def call_of(
    probs: torch.Tensor,
    v: torch.Tensor,
    queries: Tokens | None = None,
    keys: Tokens | None = None,
) -> AttentionCall:
    """A call whose probabilities (batch, heads, queries, keys) are these: its mask is their log."""
    batch, heads, rows, columns = probs.shape
    q, k = torch.zeros(batch, heads, rows, 1), torch.zeros(batch, heads, columns, 1)
    queries, keys = queries or Tokens(), keys or Tokens()
    return AttentionCall(LAYER, 0, q, k, v, probs.log(), 1.0, False, probs @ v, queries, keys)


def eager(call: AttentionCall) -> torch.Tensor:
    """Probabilities (batch, heads, queries, keys) in float64, from q, k and the mask."""
    k = call.k.double().repeat_interleave(call.q.shape[1] // call.k.shape[1], 1)
    logits = torch.einsum("bhqd,bhkd->bhqk", call.q.double(), k) * call.scale
    if call.is_causal:
        seen = torch.ones(logits.shape[-2:], dtype=torch.bool).tril()
        logits = logits.masked_fill(~seen, float("-inf"))
    if call.mask is not None:
        added = call.mask.double()
        if call.mask.dtype == torch.bool:
            added = torch.where(call.mask, 0.0, float("-inf")).double()
        logits = logits + added
    return logits.softmax(-1).nan_to_num(0.0)


@st.composite
def calls(draw) -> AttentionCall:
    """Calls of all sorts: masks, causal, grouped queries, half precision, in chunks or whole."""
    batch, key_heads, group = draw(st.tuples(*[st.integers(1, 3)] * 3))
    rows, columns = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    heads = key_heads * group
    kind = draw(st.sampled_from(["none", "bool", "float", "row"]))
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    seed = draw(st.integers(0, 99))
    random = torch.Generator().manual_seed(seed)
    mask = None
    if kind == "bool":  # a query may be left with no key at all
        mask = torch.rand(batch, 1, rows, columns, generator=random) > 0.4
    elif kind == "float":
        mask = torch.randn(batch, heads, rows, columns, generator=random).to(dtype)
    elif kind == "row":
        mask = torch.rand(batch, 1, 1, columns, generator=random) > 0.4
    return random_call(
        (batch, heads, rows, columns),
        key_heads=key_heads,
        mask=mask,
        causal=draw(st.booleans()),
        dtype=dtype,
        seed=seed,
        elements=draw(st.sampled_from([1, 40, 333, 1 << 24])),
    )
