"""One registration in a hook registry: who is told of which layers' calls, and what it has seen."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall, Moment
from attnprobe.hooks.edits import EDITED, Edit, EditFunction
from attnprobe.hooks.heads import Shares, wanted_heads
from attnprobe.hooks.layers import Layer, Layers
from attnprobe.hooks.ledger import NOTHING_KEPT, Ledger

Observer = Callable[..., Any]
Steps = Collection[int] | Callable[[Moment], bool]

_TENSORS = ("q", "k", "v", "mask", "logits", "probs", "out")


@dataclass(eq=False)
class Handle:
    """One observer or edit in a registry, to be removed by; `coverage` tells what it saw."""

    act: Any
    selection: Layers
    steps: Steps | None
    tensors: tuple[str, ...]
    chosen: list[Layer]
    ledger: Ledger = field(init=False)
    names: frozenset[str] = field(init=False)
    shares: dict[str, Shares] = field(init=False)

    def __post_init__(self) -> None:
        self.names = frozenset(layer.name for layer in self.chosen)
        self.begin()

    @classmethod
    def of_observer(
        cls,
        all_layers: list[Layer],
        observer: Observer,
        layers: Layers | None,
        steps: Steps | None,
        tensors: Collection[str],
    ) -> Handle:
        """An observer of a model that has `all_layers`: see `AttentionHooks.add`."""
        _check_callable("an observer", observer, "f(call)")
        unknown = [name for name in tensors if name not in _TENSORS]
        if unknown:
            raise CaptureError(
                f"tensors must be of {', '.join(_TENSORS)}. Got {unknown[0]!r} instead."
            )
        selection = _selection(layers)
        _check_steps(steps)
        return cls(observer, selection, steps, tuple(tensors), selection.select(all_layers))

    @classmethod
    def of_edit(
        cls,
        all_layers: list[Layer],
        function: EditFunction,
        layers: Layers | None,
        steps: Steps | None,
        on: Literal["q", "k", "v", "logits", "probs", "out"],
        heads: Collection[int] | None,
        rows: Callable[[AttentionCall], list[int]] | None = None,
    ) -> Handle:
        """An edit of a model that has `all_layers`: see `AttentionHooks.edit`."""
        check_one_of("on", on, EDITED)
        _check_callable("an edit's function", function, "f(tensor, call)")
        numbers = isinstance(heads, Collection) and all(isinstance(head, int) for head in heads)
        if heads is not None and not (numbers and heads):
            got = "none" if numbers else repr(heads)
            raise CaptureError(
                f"heads must be numbers of heads, or None for all. Got {got} instead."
            )
        selection = _selection(layers)
        if selection.chooses_heads:
            raise CaptureError("an edit's heads are said by its own heads=, not by Layers")
        _check_steps(steps)
        edit = Edit(function, on, None if heads is None else tuple(heads), rows)
        return cls(edit, selection, steps, (), selection.select(all_layers))

    @property
    def edits(self) -> bool:
        """Whether it changes what the model computes."""
        return isinstance(self.act, Edit)

    def begin(self) -> None:
        """A block begins, of which nothing is seen yet."""
        self.ledger, self.shares = Ledger(self.chosen), {}

    def wants_step(self, moment: Moment) -> bool:
        """Whether the step was chosen."""
        if self.steps is None:
            return True
        return self.steps(moment) if callable(self.steps) else moment.step in self.steps

    def wants_grid(self, call: AttentionCall) -> bool:
        """Whether a call of a chosen layer is on a grid that was chosen."""
        wanted = self.selection.wants_grid(call.query_grid)
        if not wanted:
            self.ledger.passed[call.layer.name] = call.query_grid
        return wanted

    def receive(self, call: AttentionCall) -> None:
        """Tell the observer of a call; of an edit, which was applied already, note it alone."""
        left = None
        if not self.edits:
            with torch.no_grad():
                part = self._part(call)
                left = self.act(part, **{name: _tensor(part, name) for name in self.tensors})
        self.ledger.note(call.layer, call.step, kept=left is not NOTHING_KEPT)

    def _part(self, call: AttentionCall) -> AttentionCall:
        """The call, of the heads that are wanted; which ones, a layer's first call decides."""
        if not self.selection.chooses_heads:
            return call
        if call.name not in self.shares:
            self.shares[call.name] = wanted_heads(self.selection, call)
        return call.of_heads(self.shares[call.name])


def check_one_of(name: str, given: Any, allowed: tuple[str, ...]) -> None:
    """Refuse a value that isn't one of those allowed."""
    if given not in allowed:
        raise CaptureError(f"{name} must be one of {', '.join(allowed)}. Got {given!r} instead.")


def _tensor(call: AttentionCall, name: str) -> torch.Tensor | None:
    if name in ("logits", "probs"):
        return getattr(call, name)()
    return getattr(call, name)


def _check_callable(what: str, given: Any, form: str) -> None:
    if not callable(given):
        raise CaptureError(f"{what} must be a function, called as {form}. Got {given!r} instead.")


def _selection(layers: Layers | None) -> Layers:
    selection = Layers() if layers is None else layers
    if not isinstance(selection, Layers):
        raise CaptureError(f"layers must be Layers(...). Got {layers!r} instead.")
    return selection


def _check_steps(steps: Any) -> None:
    if steps is None or callable(steps):
        return
    if isinstance(steps, Collection) and all(isinstance(s, int) and s >= 0 for s in steps):
        return
    raise CaptureError(
        "steps must be numbers counted from 0, such as [0, 10] or range(5), or a condition "
        f"on the Moment. Got {steps!r} instead."
    )
