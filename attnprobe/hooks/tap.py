"""The tap: sees every call of scaled dot-product attention and changes none."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.layers import Layer

Observer = Callable[[AttentionCall], None]

_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


class Tap(TorchFunctionMode):
    """Tells an observer of the attention calls made inside chosen modules, on this thread.

    The kernel runs first, on its own arguments, and its result is returned untouched; so the
    model's output is bit-identical with and without the tap. Forward hooks keep the name of the
    module at work. Used as a context manager.
    """

    def __init__(self, model: nn.Module, layers: list[Layer], observer: Observer) -> None:
        super().__init__()
        self._modules = [(model.get_submodule(layer.name), layer) for layer in layers]
        self._observer = observer
        self._local = threading.local()
        self._handles: list[Any] = []

    @property
    def _active(self) -> list[Layer]:
        if not hasattr(self._local, "active"):
            self._local.active = []
        return self._local.active

    def __enter__(self) -> Tap:
        for module, layer in self._modules:
            enter = _entering(self, layer)
            leave = _leaving(self)
            self._handles.append(module.register_forward_pre_hook(enter))
            self._handles.append(module.register_forward_hook(leave, always_call=True))
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._active.clear()
        super().__exit__(*exception)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention and self._active:
            with torch.no_grad():
                self._observer(_describe(self._active[-1], result, args, kwargs or {}))
        return result


def _entering(tap: Tap, layer: Layer) -> Callable[..., None]:
    def enter(module: nn.Module, args: Any) -> None:
        tap._active.append(layer)

    return enter


def _leaving(tap: Tap) -> Callable[..., None]:
    def leave(module: nn.Module, args: Any, output: Any) -> None:
        tap._active.pop()

    return leave


def _describe(
    layer: Layer, output: torch.Tensor, args: tuple, kwargs: dict[str, Any]
) -> AttentionCall:
    given = dict(zip(_PARAMETERS, args, strict=False)) | kwargs
    query, key = given["query"], given["key"]
    heads = query.shape[1]
    if key.shape[1] != heads:  # grouped queries: each key head serves several query heads
        repeats = heads // key.shape[1]
        key = key.repeat_interleave(repeats, 1)
        given["value"] = given["value"].repeat_interleave(repeats, 1)
    scale = given.get("scale")
    return AttentionCall(
        layer=layer,
        query=query,
        key=key,
        value=given["value"],
        mask=given.get("attn_mask"),
        scale=1 / math.sqrt(query.shape[-1]) if scale is None else scale,
        is_causal=given.get("is_causal", False),
        output=output,
    )
