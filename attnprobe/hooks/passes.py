"""Passes of a denoiser: which step it is, which guidance branch, and what it was given."""

from __future__ import annotations

import inspect
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from attnprobe.errors import CaptureError
from attnprobe.hooks import _private
from attnprobe.hooks.branches import TOLD, Given, Names, Print, beside, fingerprint, name_rows
from attnprobe.hooks.call import Moment
from attnprobe.hooks.callers import Caller, find_caller
from attnprobe.hooks.layout import Layout
from attnprobe.hooks.layout_readers import read_layout
from attnprobe.hooks.overrides import Override, leave, listen

_TIMESTEPS = ("timestep", "timesteps", "t", "timestep_ratio")
_LATENTS = ("sample", "hidden_states", "x")
_CONDITIONS = (
    "encoder_hidden_states",
    "cap_feats",
    "input_ids",
    "class_labels",
    "pooled",
    "added_cond_kwargs",
    "clip_",
)
"""Beginnings of the names of arguments that differ between the branches of guidance."""


class Passes:
    """Follows a denoiser's passes through hooks on it; `moment` and `layout` tell of the present.

    A step is a turn of the pipeline's loop over the scheduler's timesteps. Where no pipeline runs
    the denoiser, passes that follow each other at an equal timestep are one step, unless `new_step`
    is called between them. Passes of other threads are counted in `elsewhere` and left alone.
    """

    def __init__(self, model: nn.Module, begun: Callable[[dict[str, Any]], None]) -> None:
        self._model: nn.Module | None = model
        self._begun = begun
        self._signature = _signature(model)
        self._thread = threading.get_ident()
        self._branch: str | None = None
        self._caller: Caller | None = None
        self._timestep: Any = None
        self._told_new = False
        self._before: list[tuple[Names, Given]] = []
        self._streams = Streams()
        self.count = 0
        self.elsewhere = 0
        self.running = False
        self.moment = Moment(step=-1)
        self.layout = Layout()

    def put_on(self) -> None:
        """Begin to follow."""
        model: Any = self._model
        _private.hook(model, self, self._begin, self._end, prepend=True)
        if hasattr(model, "cache_context"):
            listen(model, "cache_context", _naming, self)

    def take_off(self) -> None:
        """Leave the model as it was; twice is once."""
        leave(self)
        if self._model is not None:
            _private.unhook(self._model, self)
        self._model = self._caller = self._timestep = None
        self._before, self._streams = [], Streams()
        self.running = False

    def new_step(self) -> None:
        """Told that the next pass begins another step, whatever its timestep."""
        self._told_new = True

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a pass by the names that ``forward`` gives them."""
        try:
            given = dict(self._signature.bind(*args, **kwargs).arguments)
        except TypeError:  # forward itself will say what is wrong
            return dict(kwargs)
        for name, parameter in self._signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                given |= given.pop(name, {})
        return given

    def _begin(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
    ) -> None:
        # A thread that is amid calling hooks while this block ends gives another's no kwargs.
        if threading.get_ident() != self._thread:
            self.elsewhere += 1
            return
        if _private.transformed():
            raise CaptureError(
                f"the model {type(model).__name__} runs inside torch.func (vmap, grad or jvp), "
                "whose tensors can't be kept; run it outside, on a batch or with backward()"
            )
        given = self.arguments(args, kwargs or {})
        caller = find_caller()
        timestep = next((given[name] for name in _TIMESTEPS if name in given), None)
        again = self._is_same_step(timestep, caller)
        conditions = {name: v for name, v in given.items() if name.startswith(_CONDITIONS)}
        if not again:
            self._before = []
            self._streams.next_step()
        self.moment = Moment(
            step=self.moment.step + (not again),
            timestep=_number(timestep),
            run=self.moment.run + 1 if again else 0,
            branches=self._branches(model, given, conditions, caller),
            stream=self._streams.number(self._branch, conditions),
        )
        self._caller, self._timestep, self._told_new = caller, _kept(timestep), False
        self.layout = read_layout(model, given)
        self.count += 1
        self._begun(given)
        self.running = True

    def _is_same_step(self, timestep: Any, caller: Caller | None) -> bool:
        if not self.count or self._told_new or (caller is None) != (self._caller is None):
            return False
        if caller is not None and self._caller is not None and not caller.same_turn(self._caller):
            return False
        return _same_timestep(timestep, self._timestep)

    def _branches(
        self,
        model: nn.Module,
        given: dict[str, Any],
        conditions: dict[str, Any],
        caller: Caller | None,
    ) -> Names:
        latents = next((given[name] for name in _LATENTS if name in given), None)
        rows = Given.of(latents, conditions)
        told = self._branch or (TOLD.get(caller.named) if caller and caller.named else None)
        if told is not None:
            names: Names = (told,) * len(rows)
        else:
            names = name_rows(model, rows, caller, given.get("class_labels"))
        names = beside(names, rows, self._before)
        self._before.append((names, rows))
        return names

    def _end(self, model: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == self._thread:
            self.running = False

    def name_branch(self, name: str | None) -> None:
        """Told by the pipeline which guidance branch its next passes are."""
        if threading.get_ident() == self._thread:
            self._branch = None if name is None else TOLD.get(name)


class Streams:
    """Which passes of different steps belong together: those with one name and one condition.

    Of passes of one step that have both in common, the first belongs to the first, the second to
    the second.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[Print, int], int] = {}
        self._seen: Counter[Print] = Counter()

    def next_step(self) -> None:
        """A step begins."""
        self._seen.clear()

    def number(self, name: str | None, conditions: dict[str, Any]) -> int:
        """The stream of a pass of the present step."""
        leaves = [one for one in _private.tree_leaves(conditions) if isinstance(one, torch.Tensor)]
        kind = (name, *map(fingerprint, leaves))
        place = kind, self._seen[kind]
        self._seen[kind] += 1
        return self._numbers.setdefault(place, len(self._numbers))


def _naming(override: Override) -> Any:
    @contextmanager
    def cache_context(name: str, **where: Any) -> Iterator[None]:
        for passes in override.listeners:
            passes.name_branch(name)
        try:
            with override.original(name, **where):
                yield
        finally:
            for passes in override.listeners:
                passes.name_branch(None)

    return cache_context


def _signature(model: nn.Module) -> inspect.Signature:
    """What ``forward`` takes: the class says, for what is put before it may take anything."""
    written = inspect.signature(type(model).forward)
    return written.replace(parameters=[*written.parameters.values()][1:])


def _kept(timestep: Any) -> Any:
    """A timestep as it is now: the same memory may hold another later."""
    return timestep.detach().clone() if isinstance(timestep, torch.Tensor) else timestep


def _same_timestep(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.is_meta or other.is_meta:
            return False
        if one.numel() == other.numel():
            return torch.equal(one.flatten().cpu(), other.flatten().cpu())
    return _number(one) == _number(other)


def _number(timestep: Any) -> float | None:
    """A timestep as a plain number: the first where each item or token has one of its own."""
    if isinstance(timestep, torch.Tensor):
        if timestep.device.type == "meta" or timestep.numel() == 0:
            return None
        return float(timestep.flatten()[0])
    return float(timestep) if isinstance(timestep, int | float) else None
