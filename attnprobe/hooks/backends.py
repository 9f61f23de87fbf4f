"""Kernels that don't go through PyTorch's own: the second tap and the third.

The second: attention kernels that diffusers calls through its registry of backends. Entries are
wrapped while any tap is open and put back when the last one closes; where diffusers has no such
registry, calls of its other kernels go unseen, and the ledger says so. The wrapper runs the kernel
itself, then tells the taps of this thread that have not seen the call already (the native backends
end in ``F.scaled_dot_product_attention``, which the first tap sees).

The third: layers that compute their probabilities by themselves and then multiply by them. The
classic and the sliced processors, and those that steer attention, ask
``Attention.get_attention_scores`` for probabilities, may write into them, and multiply the values
by them. What they multiplied is what is told.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange

from attnprobe.errors import CaptureError
from attnprobe.hooks import _private
from attnprobe.hooks.block import Guard
from attnprobe.hooks.kernel import Kernel, Listener, unheard
from attnprobe.hooks.overrides import Override

# Reentrant: a block that was abandoned may end while its thread is in here.
_lock = Guard()
_open: tuple[Listener, ...] = ()


def install(tap: Listener) -> None:
    """Let a tap be told of calls that go through the registry."""
    global _open
    with _lock.held():
        _open = (*_open, tap)
        registry = _private.backends()
        for name, kernel in [*(registry or {}).items()]:
            if registry is not None and not isinstance(kernel, _Tapped):
                registry[name] = _Tapped(name, kernel)


def remove(tap: Listener) -> None:
    """Forget a tap; with the last one the registry is as it was.

    A backend that somebody has registered meanwhile stays.
    """
    global _open
    with _lock.held():
        _open = tuple(other for other in _open if other is not tap)
        registry = _private.backends()
        for name, kernel in [*(registry or {}).items()]:
            if registry is not None and not _open and isinstance(kernel, _Tapped):
                registry[name] = kernel.kernel


class _Tapped:
    """A kernel in the registry, and those who listen to it."""

    def __init__(self, name: Any, kernel: Callable[..., Any]) -> None:
        self.name, self.kernel = name, kernel
        functools.update_wrapper(self, kernel)

    def __call__(self, *args: Any, **given: Any) -> Any:
        listening = [(tap, tap.layer, tap.calls) for tap in _open if tap.layer is not None]
        if not listening:
            return self.kernel(*args, **given)
        given = dict(zip(inspect.signature(self.kernel).parameters, args, strict=False)) | given
        result = _run(self.name, self.kernel, [tap for tap, _, _ in listening], given)
        for tap, layer, calls in listening:
            if layer is not None and tap.calls == calls:
                result = _tell(tap, layer, self.name, given, result)
        return result


def _run(name: Any, kernel: Callable[..., Any], taps: list[Listener], given: dict[str, Any]) -> Any:
    if _private.ends_in_sdpa(name):
        return kernel(**given)
    said = _backend_name(name)
    policies = {tap.policy for tap in taps}
    if "error" in policies:
        raise CaptureError(
            f"layer {taps[-1].layer and taps[-1].layer.name} runs the attention backend "
            f"{said!r}, whose probabilities would be computed anew beside it; allowed by the "
            "policy 'tap', or replaced by 'force_native'"
        )
    if "force_native" in policies:
        mask = _dense_mask(given.get("attn_mask"), name, given["query"], given["key"])
        native = (_private.backends() or {})["native"]
        native = native.kernel if isinstance(native, _Tapped) else native
        allowed = inspect.signature(native).parameters
        given = {key: value for key, value in given.items() if key in allowed}
        return native(**given | {"attn_mask": mask})
    with unheard():  # a kernel that calls PyTorch's, chunk by chunk say, is one call all the same
        return kernel(**given)


_AS_TORCH = "batch tokens heads channels -> batch heads tokens channels"
_AS_DIFFUSERS = "batch heads tokens channels -> batch tokens heads channels"
"""How PyTorch's kernels and diffusers' dispatch order the same tensors."""


def _backend_name(name: Any) -> str:
    return str(getattr(name, "value", name))


def _tell(tap: Listener, layer: Any, name: Any, given: dict[str, Any], result: Any) -> Any:
    out = result[0] if isinstance(result, tuple) else result
    q, k, v = (rearrange(given[part], _AS_TORCH) for part in ("query", "key", "value"))
    scale = given.get("scale")
    # diffusers' flex kernel leaves out the causal order where it is given no mask
    ordered = _backend_name(name) != "flex"
    kernel = Kernel(
        q,
        k,
        v,
        _dense_mask(given.get("attn_mask"), name, given["query"], given["key"]),
        1 / math.sqrt(q.shape[-1]) if scale is None else scale,
        bool(given.get("is_causal", False)) and ordered,
        rearrange(out, _AS_TORCH),
    )
    edited = tap.tell(layer, kernel)
    if edited is None:
        return result
    edited = rearrange(edited, _AS_DIFFUSERS)
    return (edited, *result[1:]) if isinstance(result, tuple) else edited


def _dense_mask(mask: Any, name: Any, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor | None:
    """A mask as the kernel takes it, in a shape that broadcasts to (batch, heads, q, k).

    Args:
        mask: what was given, a tensor, a ``BlockMask`` or None.
        name: of the backend.
        q: (batch, queries, heads, width).
        k: (batch, keys, key heads, width).
    """
    if mask is None or (isinstance(mask, torch.Tensor) and mask.ndim != 2):
        return mask
    if isinstance(mask, torch.Tensor):
        if _backend_name(name) == "flex":  # laid over the queries there
            return mask[:, None, :, None]
        return mask[:, None, None, :]
    from torch.nn.attention.flex_attention import create_mask

    shape = (q.shape[0], q.shape[2], q.shape[1], k.shape[1])
    return create_mask(mask.mask_mod, *shape, device=str(q.device))


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
