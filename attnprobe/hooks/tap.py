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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import torch
from torch import nn, overrides

from attnprobe.errors import CaptureError
from attnprobe.hooks import backends
from attnprobe.hooks.backends import Kernel
from attnprobe.hooks.layers import Layer
from attnprobe.hooks.normaliser import SeeNormaliser
from attnprobe.hooks.overrides import Override, leave, listen

Policy = Literal["tap", "force_native", "error"]


class Receiver(Protocol):
    """What a tap tells."""

    def entered(self, layer: Layer) -> bool:
        """A layer begins to work; whether its calls are wanted."""

    def receive(self, layer: Layer, kernel: Kernel) -> torch.Tensor | None:
        """A call that was wanted; what comes back, if not None, takes the output's place."""


# The function itself: whoever puts another in `torch.nn.functional` ends up in this one.
_SDPA = torch._C._nn.scaled_dot_product_attention
_SDPA_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
_PRODUCTS = (torch.bmm, torch.matmul, torch.Tensor.bmm, torch.Tensor.matmul)


class Tap(overrides.TorchFunctionMode):
    """Tells a receiver of the attention calls made inside chosen modules by this thread.

    Forward hooks keep the name of the module at work. Used as a context manager; leaving it takes
    away its own hooks and nothing else.
    """

    def __init__(
        self, model: nn.Module, layers: list[Layer], receiver: Receiver, policy: Policy = "tap"
    ) -> None:
        super().__init__()
        self._modules = [(model.get_submodule(layer.name), layer) for layer in layers]
        self._receiver = receiver
        self.policy: Policy = policy
        self._thread = threading.get_ident()
        self._depth = backends.depth()
        self._active: list[_Running] = []
        self._handles: list[Any] = []
        self._overrides: list[Override] = []
        self.calls = 0
        """How many calls were told; a backend that came by way of tap 1 is not told again."""

    def __enter__(self) -> Tap:
        for module, layer in self._modules:
            self._handles += [
                module.register_forward_pre_hook(self._entering(layer), with_kwargs=True),
                module.register_forward_hook(self._leaving(layer), always_call=True),
            ]
            if hasattr(module, "get_attention_scores"):
                self._overrides.append(listen(module, "get_attention_scores", _scoring, self))
        backends.install(self)
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._take_off()
        backends.remove(self)
        for override in self._overrides:
            leave(override, self)
        for handle in self._handles:
            handle.remove()

    def _take_off(self) -> None:
        """Leave this thread's stack of modes from wherever in it: blocks may end in any order."""
        if not any(mode is self for mode in overrides._get_current_function_mode_stack()):
            return
        above = []
        while (mode := overrides._pop_mode()) is not self:
            above.append(mode)
        for mode in reversed(above):
            overrides._push_mode(mode)

    @property
    def layer(self) -> Layer | None:
        """The layer at work on this thread, if one is and its calls are wanted."""
        if not self._active or threading.get_ident() != self._thread:
            return None
        if backends.depth() != self._depth or not self._active[-1].wanted:
            return None
        return self._active[-1].layer

    def tell(self, layer: Layer, kernel: Kernel) -> torch.Tensor | None:
        """Tell the receiver of a call; what is to take the place of its output, if anything."""
        self.calls += 1
        with backends.unheard(), _plainly(kernel.q.device.type):
            return self._receiver.receive(layer, kernel)

    def scored(self, score: Scored) -> None:
        """Told of probabilities that the layer at work has computed by itself."""
        if self.layer is not None:
            self._active[-1].score = score

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        layer = self.layer if func is _SDPA else None
        if layer is not None:
            with SeeNormaliser() as seen:
                result = func(*args, **given)
            edited = self.tell(layer, _from_sdpa(result, args, given, seen.logsumexp))
        else:
            result = func(*args, **given)
            multiplied = self._active and func in _PRODUCTS
            edited = self._multiplied(self._active[-1], args, result) if multiplied else None
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

    # A thread that is amid calling hooks while a block ends in another gives the hooks of that
    # one no kwargs; so these have defaults.

    def _entering(self, layer: Layer) -> Callable[..., None]:
        def enter(module: nn.Module, args: tuple, kwargs: dict[str, Any] | None = None) -> None:
            if threading.get_ident() == self._thread:
                given = args[0] if args else (kwargs or {}).get("hidden_states")
                batch = len(given) if isinstance(given, torch.Tensor) else 1
                wanted = self._receiver.entered(layer)
                self._active.append(_Running(layer, batch, wanted))

        return enter

    def _leaving(self, layer: Layer) -> Callable[..., None]:
        def leaving(module: nn.Module, args: Any, output: Any) -> None:
            # One that another hook kept from beginning has not been entered.
            mine = threading.get_ident() == self._thread
            if mine and self._active and self._active[-1].layer is layer:
                self._active.pop()

        return leaving


@contextmanager
def _plainly(device: str) -> Iterator[None]:
    """For what observers compute: in the precision they say, into tensors of the usual sort."""
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


@dataclass(eq=False)
class _Running:
    """A layer at work: its batch, and what the classic processors have computed so far."""

    layer: Layer
    batch: int
    wanted: bool
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


def _from_sdpa(
    out: torch.Tensor, args: tuple, kwargs: dict[str, Any], logsumexp: torch.Tensor | None
) -> Kernel:
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
        logsumexp=logsumexp,
    )
