"""The tap: sees every attention call made inside chosen modules, whichever way it is computed.

Three ways lead to a map in diffusers, and each has its tap. All run the model's own kernel first,
on its own arguments, and hand its result on untouched unless an edit was asked for.

1. ``F.scaled_dot_product_attention``: a TorchFunctionMode sees the call itself.
2. Other kernels (flash, sage, flex, xformers): their entry in diffusers' registry of backends is
   wrapped, see `attnprobe.hooks.backends`.
3. The classic and the sliced processors call ``Attention.get_attention_scores`` and then multiply
   by the values: the method is overridden on the instance, and the mode sees the product.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from attnprobe.errors import CaptureError
from attnprobe.hooks import backends
from attnprobe.hooks.layers import Layer
from attnprobe.hooks.overrides import Override, leave, listen

Policy = Literal["tap", "force_native", "error"]


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


Receiver = Callable[[Layer, Kernel], torch.Tensor | None]
"""Told of a call; what it returns, if not None, takes the place of the output."""

_SDPA_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
_PRODUCTS = (torch.bmm, torch.matmul, torch.Tensor.bmm, torch.Tensor.matmul)


class Tap(TorchFunctionMode):
    """Tells a receiver of the attention calls made inside chosen modules by this thread.

    Forward hooks keep the name of the module at work. Used as a context manager; leaving it takes
    away its own hooks and nothing else. `watching` says whether calls count at the moment.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: list[Layer],
        receive: Receiver,
        watching: Callable[[], bool],
        policy: Policy = "tap",
    ) -> None:
        super().__init__()
        self._modules = [(model.get_submodule(layer.name), layer) for layer in layers]
        self._receive = receive
        self._watching = watching
        self.policy: Policy = policy
        self._thread = threading.get_ident()
        self._active: list[_Running] = []
        self.entered: set[str] = set()
        """Names of the layers that ran, whether a call of theirs was seen or not."""
        self._handles: list[Any] = []
        self.calls = 0
        """How many calls were told; a backend that came by way of tap 1 is not told again."""

    def __enter__(self) -> Tap:
        for module, layer in self._modules:
            self._handles += [
                module.register_forward_pre_hook(self._entering(layer), with_kwargs=True),
                module.register_forward_hook(self._leaving(), always_call=True),
            ]
            if hasattr(module, "get_attention_scores"):
                listen(module, "get_attention_scores", _scoring, self)
        backends.install(self)
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        backends.remove(self)
        for module, _ in self._modules:
            leave(module, "get_attention_scores", self)
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._active.clear()

    @property
    def layer(self) -> Layer | None:
        """The layer at work on this thread, if one is and calls count."""
        if not self._active or threading.get_ident() != self._thread or not self._watching():
            return None
        return self._active[-1].layer

    def tell(self, layer: Layer, kernel: Kernel) -> torch.Tensor | None:
        """Tell the receiver of a call; what is to take the place of its output, if anything."""
        self.calls += 1
        with torch.no_grad():
            return self._receive(layer, kernel)

    def scored(self, score: Scored) -> None:
        """Told of probabilities that the layer at work has computed by itself."""
        if self.layer is not None:
            self._active[-1].score = score

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        edited = None
        if func is F.scaled_dot_product_attention:
            layer = self.layer
            if layer is not None:
                edited = self.tell(layer, _from_sdpa(result, args, kwargs or {}))
        elif self._active and func in _PRODUCTS:
            edited = self._multiplied(self._active[-1], args, result)
        return result if edited is None else edited

    def _multiplied(
        self, running: _Running, args: tuple, result: torch.Tensor
    ) -> torch.Tensor | None:
        """A product in the classic processors: probabilities by values makes a call whole."""
        score, layer = running.score, self.layer
        if score is None or layer is None or args[0] is not score.probs:
            return None
        running.score = None
        running.slices.append(replace(score, value=args[1], out=result))
        rows = sum(len(part.query) for part in running.slices)
        if rows < running.batch * score.heads:  # the sliced processor has more to come
            return None
        parts, running.slices = running.slices, []
        edited = self.tell(layer, _from_scores(parts))
        if edited is not None and len(parts) > 1:
            raise CaptureError(
                f"{layer.name} computes its heads slice by slice, so they can't be edited; "
                "turn attention slicing off"
            )
        return None if edited is None else edited.flatten(0, 1)

    def _entering(self, layer: Layer) -> Callable[..., None]:
        def enter(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            if threading.get_ident() == self._thread:
                given = args[0] if args else kwargs.get("hidden_states")
                batch = len(given) if isinstance(given, torch.Tensor) else 1
                self._active.append(_Running(layer, batch))
                if self._watching():
                    self.entered.add(layer.name)

        return enter

    def _leaving(self) -> Callable[..., None]:
        def leaving(module: nn.Module, args: Any, output: Any) -> None:
            if threading.get_ident() == self._thread and self._active:
                self._active.pop()

        return leaving


@dataclass(eq=False)
class _Running:
    """A layer at work: its batch, and what the classic processors have computed so far."""

    layer: Layer
    batch: int
    score: Scored | None = None
    slices: list[Scored] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Scored:
    """What goes into ``get_attention_scores`` and comes out: (batch · heads, tokens, …)."""

    probs: torch.Tensor
    query: torch.Tensor
    key: torch.Tensor
    mask: torch.Tensor | None
    scale: float
    heads: int
    value: torch.Tensor | None = None
    out: torch.Tensor | None = None


def _scoring(override: Override) -> Any:
    module = override.owner

    def get_attention_scores(
        query: torch.Tensor, key: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        probs = override.original(query, key, attention_mask)
        score = Scored(probs, query, key, attention_mask, module.scale, module.heads)
        for tap in override.listeners:
            tap.scored(score)
        return probs

    return get_attention_scores


def _from_scores(parts: list[Scored]) -> Kernel:
    heads = parts[0].heads

    def apart(tensors: list[Any]) -> torch.Tensor:
        return (tensors[0] if len(tensors) == 1 else torch.cat(tensors)).unflatten(0, (-1, heads))

    mask = None
    if parts[0].mask is not None:
        mask = apart([p.mask.expand(len(p.query), -1, -1) for p in parts if p.mask is not None])
    return Kernel(
        q=apart([part.query for part in parts]),
        k=apart([part.key for part in parts]),
        v=apart([part.value for part in parts]),
        mask=mask,
        scale=parts[0].scale,
        is_causal=False,
        out=apart([part.out for part in parts]),
    )


def _from_sdpa(out: torch.Tensor, args: tuple, kwargs: dict[str, Any]) -> Kernel:
    given = dict(zip(_SDPA_PARAMETERS, args, strict=False)) | kwargs
    query, scale = given["query"], given.get("scale")
    return Kernel(
        q=query,
        k=given["key"],
        v=given["value"],
        mask=given.get("attn_mask"),
        scale=1 / math.sqrt(query.shape[-1]) if scale is None else scale,
        is_causal=given.get("is_causal", False),
        out=out,
    )
