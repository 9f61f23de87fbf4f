"""The second tap: attention kernels that diffusers calls through its registry of backends.

An entry is wrapped while any tap is open and put back when the last one closes. The wrapper runs
the kernel itself, then tells the taps of this thread that have not seen the call already (the
native backends end in ``F.scaled_dot_product_attention``, which the first tap sees).
"""

from __future__ import annotations

import functools
import inspect
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from attnprobe.errors import CaptureError

if TYPE_CHECKING:
    from attnprobe.hooks.tap import Tap


@functools.cache
def _dispatch() -> Any:
    """diffusers' dispatch of kernels, imported with the first tap: saved captures need none."""
    from diffusers.models import attention_dispatch

    return attention_dispatch


def _registry() -> Any:
    return _dispatch()._AttentionBackendRegistry


def _ends_in_sdpa(name: Any) -> bool:
    names = _dispatch().AttentionBackendName
    return name in [*names] and "native" in name.value and name is not names._NATIVE_NPU


_lock = threading.Lock()
_originals: dict[Any, Callable[..., Any]] = {}
_wrappers: dict[Any, Callable[..., Any]] = {}
_open: list[Tap] = []


@dataclass(frozen=True, eq=False)
class Kernel:
    """Arguments and result of one attention kernel, heads before tokens; see `AttentionCall`."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    mask: torch.Tensor | None
    scale: float
    is_causal: bool
    out: torch.Tensor
    logsumexp: torch.Tensor | None = None


class _Depth(threading.local):
    value = 0


_depth = _Depth()


def depth() -> int:
    """How many computations of this thread are unheard, one inside the other."""
    return _depth.value


@contextmanager
def unheard() -> Iterator[None]:
    """For what is computed inside a kernel or by an observer, which is no call of the model's.

    Taps opened inside (an observer may capture another model) do hear it.
    """
    _depth.value += 1
    try:
        yield
    finally:
        _depth.value -= 1


def install(tap: Tap) -> None:
    """Let a tap be told of calls that go through the registry."""
    with _lock:
        if not _open:
            _originals.update(_registry()._backends)
            _wrappers.update({name: _wrapped(name, run) for name, run in _originals.items()})
            _registry()._backends.update(_wrappers)
        _open.append(tap)


def remove(tap: Tap) -> None:
    """Forget a tap; with the last one the registry is as it was.

    A backend that somebody has registered meanwhile stays.
    """
    with _lock:
        _open.remove(tap)
        if not _open:
            for name, kernel in _originals.items():
                if _registry()._backends[name] is _wrappers[name]:
                    _registry()._backends[name] = kernel
            _originals.clear()
            _wrappers.clear()


def _wrapped(name: Any, kernel: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(kernel)
    def run(*args: Any, **given: Any) -> Any:
        listening = [(tap, tap.layer, tap.calls) for tap in [*_open] if tap.layer is not None]
        if not listening:
            return kernel(*args, **given)
        given = dict(zip(inspect.signature(kernel).parameters, args, strict=False)) | given
        result = _run(name, kernel, [tap for tap, _, _ in listening], given)
        for tap, layer, calls in listening:
            if layer is not None and tap.calls == calls:
                result = _tell(tap, layer, name, given, result)
        return result

    return run


def _run(name: Any, kernel: Callable[..., Any], taps: list[Tap], given: dict[str, Any]) -> Any:
    if _ends_in_sdpa(name):
        return kernel(**given)
    said = str(getattr(name, "value", name))
    policies = {tap.policy for tap in taps}
    if "error" in policies:
        raise CaptureError(
            f"layer {taps[-1].layer and taps[-1].layer.name} runs the attention backend "
            f"{said!r}, whose probabilities would be computed anew beside it; allowed by the "
            "policy 'tap', or replaced by 'force_native'"
        )
    if "force_native" in policies:
        mask = _dense_mask(given.get("attn_mask"), name, given["query"], given["key"])
        native = _dispatch().AttentionBackendName.NATIVE
        allowed = _registry()._supported_arg_names[native]
        given = {key: value for key, value in given.items() if key in allowed}
        return _originals[native](**given | {"attn_mask": mask})
    with unheard():  # a kernel that calls PyTorch's, chunk by chunk say, is one call all the same
        return kernel(**given)


def _tell(tap: Tap, layer: Any, name: Any, given: dict[str, Any], result: Any) -> Any:
    out = result[0] if isinstance(result, tuple) else result
    q, k, v = (given[part].transpose(1, 2) for part in ("query", "key", "value"))
    scale = given.get("scale")
    # diffusers' flex kernel leaves out the causal order where it is given no mask
    ordered = name is not _dispatch().AttentionBackendName.FLEX
    kernel = Kernel(
        q,
        k,
        v,
        _dense_mask(given.get("attn_mask"), name, given["query"], given["key"]),
        1 / math.sqrt(q.shape[-1]) if scale is None else scale,
        bool(given.get("is_causal", False)) and ordered,
        out.transpose(1, 2),
    )
    edited = tap.tell(layer, kernel)
    if edited is None:
        return result
    edited = edited.transpose(1, 2)
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
        if name is _dispatch().AttentionBackendName.FLEX:  # laid over the queries there
            return mask[:, None, :, None]
        return mask[:, None, None, :]
    from torch.nn.attention.flex_attention import create_mask

    shape = (q.shape[0], q.shape[2], q.shape[1], k.shape[1])
    return create_mask(mask.mask_mod, *shape, device=str(q.device))
