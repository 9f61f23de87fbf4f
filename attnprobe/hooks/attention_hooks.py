"""The hook registry: observers and edits of a denoiser's attention, each with its selection."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from attnprobe.errors import CaptureError
from attnprobe.hooks.block import Block, Guard
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.edits import EditFunction, apply_edits
from attnprobe.hooks.families import batching, module_named, unwrapped
from attnprobe.hooks.finding import attention_layers
from attnprobe.hooks.handle import Handle, Observer, Steps, check_one_of
from attnprobe.hooks.interventions import Interventions
from attnprobe.hooks.kernel import Kernel, Policy
from attnprobe.hooks.layers import Layer, Layers
from attnprobe.hooks.layout import Layout, Seen
from attnprobe.hooks.ledger import why_unseen
from attnprobe.hooks.matching import text_among
from attnprobe.hooks.overrides import allow_compiled, force_eager
from attnprobe.hooks.passes import Passes
from attnprobe.hooks.tap import Given, Tap

Missing = Literal["raise", "ignore"]


class AttentionHooks(Interventions, Block):
    """Observers of a denoiser's attention; its output is bit-identical with and without them.

    Used as a context manager, any number of times; registries nest (the outer one's edits come
    first, and the inner one sees what they have made), and one thread's does not see another's
    passes.

    Args:
        model: the denoiser, such as ``pipe.unet`` or ``pipe.transformer``.
        policy: what to do about kernels other than PyTorch's own, such as flash attention: ``tap``
            computes the probabilities beside them, ``force_native`` runs PyTorch's kernel in
            their place (which may change the output in its last bits), ``error`` refuses.
        missing: ``raise`` at the end of the block if a chosen layer was not observed, or
            ``ignore`` it.
        classes: attention classes of the model's own, besides diffusers'.

    Examples:
        >>> hooks, grids = ap.AttentionHooks(pipe.unet), set()
        >>> _ = hooks.add(lambda call: grids.add(call.query_grid), layers=ap.Layers(kind="self"))
        >>> with hooks:
        ...     picture = pipe("a red disc", num_inference_steps=1).images[0]
        >>> sorted(grids)
        [(1, 8, 8), (1, 16, 16), (1, 32, 32)]
    """

    def __init__(
        self,
        model: nn.Module,
        policy: Policy = "tap",
        missing: Missing = "raise",
        classes: tuple[type, ...] = (),
    ) -> None:
        check_one_of("policy", policy, ("tap", "force_native", "error"))
        check_one_of("missing", missing, ("raise", "ignore"))
        if not isinstance(model, nn.Module):
            raise CaptureError(
                "the model must be a denoiser, such as pipe.unet or pipe.transformer. "
                f"Got {type(model).__name__} instead."
            )
        # Held weakly: what is kept of a capture must not keep gigabytes of weights.
        inner = unwrapped(model)
        self._model = weakref.ref(inner)
        self.model_name = type(inner).__name__
        self.policy: Policy = policy
        self.missing: Missing = missing
        self.layers = attention_layers(inner, classes)
        self._handles: list[Handle] = []
        self._lock = Guard()
        self._passes: Passes
        self._tap: Tap
        self._on: list[Passes | Tap] = []
        self._first: Callable[[dict[str, Any]], None] | None = None
        self._calls: dict[str, int] = {}
        self._ran: dict[str, set[int]] = {}
        self._wanting: list[Handle] = []
        self._stray: set[str] = set()

    @property
    def model(self) -> nn.Module:
        """The denoiser.

        Raises:
            CaptureError: nobody holds it any more.
        """
        model = self._model()
        if model is None:
            raise CaptureError(f"the {self.model_name} of these hooks is gone; keep it alive")
        return model

    def add(
        self,
        observer: Observer,
        layers: Layers | None = None,
        steps: Steps | None = None,
        tensors: Collection[str] = (),
    ) -> Handle:
        """Register an observer; inside a block it begins with the next pass.

        Args:
            observer: called with each `AttentionCall`, under ``no_grad``.
            layers: of which layers; all by default.
            steps: at which denoising steps (numbers from 0, or a condition on the `Moment`).
            tensors: of ``q``, ``k``, ``v``, ``mask``, ``logits``, ``probs``, ``out``, those to be
                given to the observer as keywords.

        Returns:
            A handle for `remove` and `coverage`.
        """
        return self.register(Handle.of_observer(self.layers, observer, layers, steps, tensors))

    def edit(
        self,
        function: EditFunction,
        layers: Layers | None = None,
        steps: Steps | None = None,
        on: Literal["q", "k", "v", "logits", "probs", "out"] = "probs",
        heads: Collection[int] | None = None,
    ) -> Handle:
        """Register an intervention: the one thing here that does change the model's output.

        Observers are told the edited output, and queries, keys and probabilities as the model has
        them. Gradients flow through edits.

        Args:
            function: called as ``function(tensor, call)``; what it returns takes the tensor's
                place. It may write into the tensor and return it.
            layers: of which layers; all by default.
            steps: at which steps.
            on: ``q``, ``k`` or ``v``, (batch, heads, tokens, width), where grouped heads have
                keys and values of their own; ``logits``, (batch, heads, queries, keys) float32,
                scaled and masked; ``probs``, their softmax, multiplied by the values afterwards;
                or ``out``, (batch, heads, queries, width). They come in this order.
            heads: only these are given and replaced; all by default.
        """
        return self.register(Handle.of_edit(self.layers, function, layers, steps, on, heads))

    def remove(self, handle: Handle) -> None:
        """Take an observer or edit out again.

        Raises:
            CaptureError: it is not (or no longer) registered here.
        """
        with self._lock.held():
            if handle not in self._handles:
                raise CaptureError("remove: that handle is not registered here")
            self._handles = [other for other in self._handles if other is not handle]
            self._wanting = [other for other in self._wanting if other is not handle]

    def coverage(self, handle: Handle) -> list[dict[str, Any]]:
        """A row a layer that the handle chose: name, kind, steps wanted and seen, and why not."""
        return handle.ledger.coverage(self._why)

    def before_first_pass(self, check: Callable[[dict[str, Any]], None]) -> None:
        """Have the first pass of the next block looked at before it runs.

        Args:
            check: called with the arguments of the denoiser's ``forward`` by name; what it raises
                stops the pass.
        """
        self._first = check

    def new_step(self) -> None:
        """Say, inside the block, that the next pass begins another step.

        For passes at an equal timestep that no pipeline runs, such as those of several pictures:
        they count as passes of one step otherwise, and are kept apart.

        Raises:
            CaptureError: the block isn't open.
        """
        if not self._on:
            raise CaptureError("new_step is said inside the block of these hooks; it isn't open")
        self._passes.new_step()

    def lay_out(self, layout: Layout) -> None:
        """Take a layout for that of the pass that begins, where its arguments have no numbers."""
        self._passes.layout = layout

    def put_on(self) -> None:
        """Begin to watch; a ``with`` statement does it."""
        self._ran, self._wanting, self._stray = {}, [], set()
        for handle in self._handles:
            handle.begin()
        self._passes = Passes(self.model, self._begin)
        self._tap = Tap(self.model, self.layers, self, self.policy)
        self._on = [self._passes, self._tap]
        force_eager(self)
        for each in self._on:
            each.put_on()

    def take_off(self) -> None:
        """Leave the model as it was; a ``with`` statement does it."""
        for each in reversed(self._on):
            each.take_off()
        allow_compiled(self)
        self._on = []

    def check(self) -> None:
        """Told at the end of a block that ended well: see that all that was chosen was observed."""
        if self.missing == "raise":
            self._check()

    def register(self, handle: Handle) -> Handle:
        """Take a handle in; `add`, `edit` and the interventions do it."""
        with self._lock.held():
            self._handles = [*self._handles, handle]
        return handle

    def _begin(self, arguments: dict[str, Any]) -> None:
        """A pass begins: `arguments` are those of the denoiser's ``forward``, by name."""
        first, self._first = self._first, None
        if first is not None:
            first(arguments)
        self._tap.begin_pass()
        moment = self._passes.moment
        self._calls = {}
        # An observer added during a pass sees the next one, so that it sees whole passes.
        self._wanting = [handle for handle in self._handles if handle.wants_step(moment)]
        if any(handle.edits for handle in self._wanting):
            self._refuse_checkpointing()
        for handle in self._wanting:
            handle.ledger.steps.add(moment.step)

    def _refuse_checkpointing(self) -> None:
        if torch.is_grad_enabled() and getattr(self.model, "is_gradient_checkpointing", False):
            raise CaptureError(
                "with gradient checkpointing the backward pass runs layers again without the "
                "edits, so gradients would be wrong; call disable_gradient_checkpointing() on the "
                "model, or run it under torch.no_grad()"
            )

    def entered(self, layer: Layer) -> bool:
        """Told by the tap that a layer begins to work; whether anybody wants its calls."""
        # Gradient checkpointing runs layers again outside of a pass; those calls don't count.
        if not self._passes.running:
            return False
        self._ran.setdefault(layer.name, set()).add(self._passes.moment.step)
        return any(layer.name in handle.names for handle in self._wanting)

    def strayed(self, layer: Layer) -> None:
        """Told by the tap that a layer multiplied nothing by the probabilities it computed."""
        self._stray.add(layer.name)

    def receive(self, layer: Layer, kernel: Kernel, given: Given) -> torch.Tensor | None:
        """Told by the tap of a call; what is to take the place of its output, if edits say so."""
        index = self._calls[layer.name] = self._calls.get(layer.name, -1) + 1
        handles = [handle for handle in self._wanting if layer.name in handle.names]
        if not handles:
            return None
        call = self._call(layer, index, kernel, given)
        handles = [handle for handle in handles if handle.wants_grid(call)]
        edited = None
        if edits := [handle.act for handle in handles if handle.edits]:
            call, edited = apply_edits(edits, call)
        for handle in handles:
            handle.receive(call)
        return edited

    def _call(self, layer: Layer, index: int, kernel: Kernel, given: Given) -> AttentionCall:
        seen = Seen(
            index=index,
            queries=kernel.q.shape[2],
            keys=kernel.k.shape[2],
            size=given.size,
            adapter=hasattr(getattr(given.module, "processor", None), "to_k_ip"),
            text=partial(text_among, kernel.k, given.module, given.text),
        )
        queries, keys = self._passes.layout.tokens(layer, seen)
        return AttentionCall(
            layer=layer,
            index=index,
            q=kernel.q,
            k=kernel.k,
            v=kernel.v,
            mask=kernel.mask,
            scale=kernel.scale,
            is_causal=kernel.is_causal,
            out=kernel.out,
            queries=queries,
            keys=keys,
            moment=self._passes.moment,
            logsumexp=kernel.logsumexp,
            weights=kernel.weights,
            projection=_projection(given.module),
            batching=batching(self.model, given.module),
        )

    def _why(self, layer: Layer, steps: set[int], seen: set[int]) -> str:
        ran, stray = self._ran.get(layer.name, set()), layer.name in self._stray
        return why_unseen(self._module(layer), layer, steps, seen, ran, stray)

    def _module(self, layer: Layer) -> nn.Module | None:
        model = self._model()
        return None if model is None else module_named(model, layer.name)

    def _check(self) -> None:
        name = self.model_name
        if not self._passes.count and self._passes.elsewhere:
            raise CaptureError(f"the model {name} ran in another thread; open the block there")
        if not self._passes.count:
            raise CaptureError(f"the model {name} did not run inside the block")
        for handle in self._handles:
            if not handle.ledger.steps and handle.steps is None:
                raise CaptureError("an observer was added after the last pass, so it saw none")
            if not handle.ledger.steps:
                last = self._passes.moment.step
                raise CaptureError(f"none of the steps chosen ran; there were steps 0 to {last}")
            handle.ledger.check(self._why)


def _projection(module: Any) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """The layer's projection of its outputs, past the hooks that anybody has on it."""
    given = getattr(module, "to_out", None)
    if isinstance(given, nn.ModuleList | nn.Sequential):  # projection, then dropout
        given = given[0] if len(given) else None
    return given.forward if isinstance(given, nn.Module) else None
