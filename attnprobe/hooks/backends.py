"""The second tap: attention kernels that diffusers calls through its registry of backends.

An entry is wrapped while any tap is open and put back when the last one closes. The wrapper runs
the kernel itself, then tells the taps of this thread that have not seen the call already (the
native backends end in ``F.scaled_dot_product_attention``, which the first tap sees).
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models import attention_dispatch as dispatch

from attnprobe.errors import CaptureError

if TYPE_CHECKING:
    from attnprobe.hooks.tap import Tap

_registry = dispatch._AttentionBackendRegistry
_NATIVE = dispatch.AttentionBackendName.NATIVE

_lock = threading.Lock()
_originals: dict[Any, Callable[..., Any]] = {}
_open: list[Tap] = []


def install(tap: Tap) -> None:
    """Let a tap be told of calls that go through the registry."""
    with _lock:
        if not _open:
            _originals.update(_registry._backends)
            for name, kernel in _originals.items():
                _registry._backends[name] = _wrapped(name, kernel)
        _open.append(tap)


def remove(tap: Tap) -> None:
    """Forget a tap; with the last one the registry is as it was."""
    with _lock:
        _open.remove(tap)
        if not _open:
            _registry._backends.update(_originals)
            _originals.clear()


def _wrapped(name: Any, kernel: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(kernel)
    def run(**given: Any) -> Any:
        listening = [(tap, tap.layer, tap.calls) for tap in [*_open] if tap.layer is not None]
        if not listening:
            return kernel(**given)
        native = _originals.get(_NATIVE, kernel)
        result = _run(name, kernel, native, [tap for tap, _, _ in listening], given)
        for tap, layer, calls in reversed(listening):
            if layer is not None and tap.calls == calls:
                result = _tell(tap, layer, name, given, result)
        return result

    return run


def _run(
    name: Any, kernel: Callable[..., Any], native: Any, taps: list[Tap], given: dict[str, Any]
) -> Any:
    ends_in_sdpa = "native" in name.value and name is not dispatch.AttentionBackendName._NATIVE_NPU
    policies = set() if ends_in_sdpa else {tap.policy for tap in taps}
    if "error" in policies:
        raise CaptureError(
            f"layer {taps[-1].layer and taps[-1].layer.name} runs the attention backend "
            f"{name.value!r}, whose probabilities would be computed anew beside it; allowed by the "
            "policy 'tap', or replaced by 'force_native'"
        )
    if "force_native" in policies:
        allowed = _registry._supported_arg_names[_NATIVE]
        return native(**{key: value for key, value in given.items() if key in allowed})
    return kernel(**given)


def _tell(tap: Tap, layer: Any, name: Any, given: dict[str, Any], result: Any) -> Any:
    from attnprobe.hooks.tap import Kernel

    out = result[0] if isinstance(result, tuple) else result
    q, k, v = (given[part].transpose(1, 2) for part in ("query", "key", "value"))
    scale = given.get("scale")
    kernel = Kernel(
        q,
        k,
        v,
        _dense_mask(given.get("attn_mask"), name, q, k),
        1 / math.sqrt(q.shape[-1]) if scale is None else scale,
        bool(given.get("is_causal", False)),
        out.transpose(1, 2),
    )
    edited = tap.tell(layer, kernel)
    if edited is None:
        return result
    edited = edited.transpose(1, 2)
    return (edited, *result[1:]) if isinstance(result, tuple) else edited


def _dense_mask(mask: Any, name: Any, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor | None:
    """A mask as the kernel takes it, in a shape that broadcasts to (batch, heads, q, k)."""
    if mask is None or (isinstance(mask, torch.Tensor) and mask.ndim != 2):
        return mask
    if isinstance(mask, torch.Tensor):
        if name is dispatch.AttentionBackendName.FLEX:  # diffusers lays it over the queries there
            return mask[:, None, :, None]
        return mask[:, None, None, :]
    from torch.nn.attention.flex_attention import create_mask

    shape = (q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    return create_mask(mask.mask_mod, *shape, device=str(q.device))
