"""The tap: sees every attention call made inside chosen modules, whichever way it is computed.

Three ways lead to a map in diffusers, and each has its tap. All run the model's own kernel first,
on its own arguments, and hand its result on untouched unless an edit was asked for.

1. ``F.scaled_dot_product_attention``: a TorchFunctionMode sees the call itself.
2. Other kernels (flash, sage, flex, xformers): their entry in diffusers' registry of backends is
   wrapped, see `attnprobe.hooks.backends`.
3. The classic and the sliced processors call ``Attention.get_attention_scores`` and then multiply
   by the values: the method is overridden on the instance, and the mode sees the product, see
   `attnprobe.hooks.backends`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn, overrides

from attnprobe.errors import CaptureError
from attnprobe.hooks import _private, backends
from attnprobe.hooks.backends import Scored, from_scores, scoring
from attnprobe.hooks.block import Block
from attnprobe.hooks.families import module_named
from attnprobe.hooks.kernel import Kernel, Policy, SeeNormaliser, depth, unheard
from attnprobe.hooks.layers import Layer
from attnprobe.hooks.overrides import leave, listen


@dataclass(frozen=True, eq=False)
class Given:
    """What a layer was called with, as far as it tells what its tokens are.

    Args:
        module: the layer's.
        size: height and width of the picture of features that the tokens were made of, by the
            innermost module around the layer that was given one; None if none was.
        text: the other sequence that was handed to it, (batch, tokens, width), or None.
    """

    module: nn.Module
    size: tuple[int, int] | None = None
    text: torch.Tensor | None = None


class Receiver(Protocol):
    """What a tap tells."""

    def entered(self, layer: Layer) -> bool:
        """A layer begins to work; whether its calls are wanted."""

    def receive(self, layer: Layer, kernel: Kernel, given: Given) -> torch.Tensor | None:
        """A call that was wanted; what comes back, if not None, takes the output's place."""

    def strayed(self, layer: Layer) -> None:
        """A layer computed probabilities that it did not multiply anything with."""


_SDPA_PARAMETERS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
_PRODUCTS = (torch.bmm, torch.matmul, torch.Tensor.bmm, torch.Tensor.matmul)


class Tap(Block, overrides.TorchFunctionMode):
    """Tells a receiver of the attention calls made inside chosen modules by this thread.

    Forward hooks keep the name of the module at work. Used as a context manager; leaving it takes
    away its own hooks and nothing else.
    """

    def __init__(
        self, model: nn.Module, layers: list[Layer], receiver: Receiver, policy: Policy = "tap"
    ) -> None:
        super().__init__()
        _private.require()
        self._modules = {module_named(model, layer.name): layer for layer in layers}
        self._around = _around(model, layers)
        self._receiver = receiver
        self.policy: Policy = policy
        self._thread = threading.get_ident()
        self._depth = depth()
        self._active: list[_Running] = []
        self._sizes: list[tuple[nn.Module, tuple[int, int] | None]] = []
        self._below: list[Any] | None = None
        self.calls = 0
        """How many calls were told; a backend that came by way of tap 1 is not told again."""

    def put_on(self) -> None:
        """Begin to listen."""
        for module in self._around:
            _private.hook(module, self, self._around_entered, self._around_left)
        for module, layer in self._modules.items():
            _private.hook(module, self, partial(self._entered, layer), partial(self._left, layer))
            if hasattr(module, "get_attention_scores"):
                listen(module, "get_attention_scores", scoring, self)
        backends.install(self)
        _private.push_function_mode(self)

    def take_off(self) -> None:
        """Take everything off that is this tap's."""
        self._leave_modes()
        backends.remove(self)
        leave(self)
        for module in (*self._modules, *self._around):
            _private.unhook(module, self)
        self._modules, self._around = {}, []

    def _leave_modes(self) -> None:
        """Leave this thread's stack of modes from wherever in it: blocks may end in any order."""
        _private.leave_dispatch_modes(SeeNormaliser)
        if self._below is None:
            self._below = [mode for mode in _private.function_modes() if mode is not self]
        while (modes := _private.function_modes()) != self._below:
            if modes == self._below[: len(modes)]:
                _private.push_function_mode(self._below[len(modes)])
            else:
                _private.pop_function_mode()

    def check(self) -> None:
        """What a tap was told is its receiver's matter."""

    def begin_pass(self) -> None:
        """Forget what an interrupted pass has left; one that an observer runs is inside another."""
        if depth() == self._depth:
            self._active.clear()
            self._sizes.clear()

    @property
    def layer(self) -> Layer | None:
        """The layer at work on this thread, if one is and its calls are wanted."""
        if not self._active or threading.get_ident() != self._thread:
            return None
        if depth() != self._depth or not self._active[-1].wanted:
            return None
        return self._active[-1].layer

    def tell(self, layer: Layer, kernel: Kernel) -> torch.Tensor | None:
        """Tell the receiver of a call; what is to take the place of its output, if anything."""
        self.calls += 1
        given = self._active[-1].given
        with unheard(), _plainly(kernel.q.device.type):
            return self._receiver.receive(layer, kernel, given)

    def scored(self, score: Scored) -> None:
        """Told of probabilities that the layer at work has computed by itself."""
        if self.layer is not None:
            self._active[-1].score = score

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        layer = self.layer if func is _private.SDPA else None
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
        self, running: _Running, args: tuple[Any, ...], result: torch.Tensor
    ) -> torch.Tensor | None:
        """A product in the classic processors: probabilities by values makes a call whole.

        Probabilities may be multiplied again, by other values or changed meanwhile: another call.
        """
        score, layer = running.score or running.told, self.layer
        if score is None or layer is None or args[0] is not score.probs:
            return None
        running.score = running.told = None
        running.slices.append(replace(score, value=args[1], out=result))
        rows = sum(len(part.query) for part in running.slices)
        if rows < running.batch * score.heads:  # the sliced processor has more to come
            return None
        parts, running.slices = running.slices, []
        running.told = score if len(parts) == 1 else None
        edited = self.tell(layer, from_scores(parts))
        if edited is not None and len(parts) > 1:
            raise CaptureError(
                f"{layer.name} computes its heads slice by slice, so they can't be edited; "
                "turn attention slicing off"
            )
        return None if edited is None else edited.flatten(0, 1)

    # A thread that is amid calling hooks while a block ends in another gives the hooks of that
    # one no kwargs; so these have defaults.

    def _entered(
        self,
        layer: Layer,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        if threading.get_ident() == self._thread:
            own, text = _inputs(args, kwargs or {})
            batch = 1 if own is None else len(own)
            given = Given(module, self._size(own), text)
            wanted = self._receiver.entered(layer)
            self._active.append(_Running(layer, batch, wanted, given))

    def _left(self, layer: Layer, module: nn.Module, args: Any, output: Any) -> None:
        # One that another hook kept from beginning has not been entered.
        mine = threading.get_ident() == self._thread
        if not (mine and self._active and self._active[-1].layer is layer):
            return
        if self._active.pop().score is not None:
            self._receiver.strayed(layer)

    def _around_entered(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> None:
        if threading.get_ident() == self._thread:
            self._sizes.append((module, self._size(_inputs(args, kwargs or {})[0])))

    def _around_left(self, module: nn.Module, args: Any, output: Any) -> None:
        mine = threading.get_ident() == self._thread
        if mine and self._sizes and self._sizes[-1][0] is module:
            self._sizes.pop()

    def _size(self, own: torch.Tensor | None) -> tuple[int, int] | None:
        """Height and width of a picture of features, or those of the one around."""
        if own is not None and own.ndim > 3:
            return own.shape[-2], own.shape[-1]
        return self._sizes[-1][1] if self._sizes else None


def _around(model: nn.Module, layers: list[Layer]) -> list[nn.Module]:
    """The modules that layers are in, without the model itself; lists are never called."""
    parts = [layer.name.split(".") for layer in layers]
    names = {".".join(each[:depth]) for each in parts for depth in range(1, len(each))}
    modules = [model.get_submodule(name) for name in sorted(names)]
    return [module for module in modules if not isinstance(module, nn.ModuleList | nn.ModuleDict)]


def _inputs(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """What a module was given of its own, and as another sequence; None where that is no tensor."""
    own = args[0] if args else kwargs.get("hidden_states")
    other = args[1] if len(args) > 1 else kwargs.get("encoder_hidden_states")
    own, other = (each if isinstance(each, torch.Tensor) else None for each in (own, other))
    return own, other


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
    """A layer at work: its batch, and what the classic processors have computed so far.

    `score` is yet to be multiplied, `told` has been.
    """

    layer: Layer
    batch: int
    wanted: bool
    given: Given
    score: Scored | None = None
    told: Scored | None = None
    slices: list[Scored] = field(default_factory=list)


def _from_sdpa(
    out: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any], logsumexp: torch.Tensor | None
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
