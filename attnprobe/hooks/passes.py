"""Passes of a denoiser: which step it is, which guidance branch, and what it was given."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from attnprobe.hooks import _private
from attnprobe.hooks.call import Moment
from attnprobe.hooks.families import Layout, read_layout
from attnprobe.hooks.overrides import Override, leave, listen

_TIMESTEPS = ("timestep", "timesteps", "t")
_LATENTS = ("sample", "hidden_states", "x")
_CONDITIONS = ("encoder_hidden_states", "cap_feats", "input_ids", "class_labels", "pooled")
"""Beginnings of the names of arguments that differ between the branches of guidance."""


class Passes:
    """Follows a denoiser's passes through hooks on it; `moment` and `layout` tell of the present.

    Two passes that follow each other with equal latents at an equal timestep, but another
    condition or another name of their branch, are one step: so guidance is done where the batch
    isn't doubled. Passes of other
    threads are counted in `elsewhere` and left alone.
    """

    def __init__(self, model: nn.Module, begun: Callable[[dict[str, Any]], None]) -> None:
        self._model: nn.Module | None = model
        self._begun = begun
        self._signature = inspect.signature(model.forward)
        self._thread = threading.get_ident()
        self._latents: list[torch.Tensor] = []
        self._condition: list[torch.Tensor] = []
        self._branch: str | None = None
        self._named: list[str | None] = []
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
        self._model = None
        self._latents, self._condition = [], []
        self.running = False

    def arguments(self, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a pass by the names that ``forward`` gives them."""
        try:
            return dict(self._signature.bind(*args, **kwargs).arguments)
        except TypeError:  # forward itself will say what is wrong
            return dict(kwargs)

    def _begin(self, model: nn.Module, args: tuple, kwargs: dict[str, Any] | None = None) -> None:
        # A thread that is amid calling hooks while this block ends gives another's no kwargs.
        if threading.get_ident() != self._thread:
            self.elsewhere += 1
            return
        given = self.arguments(args, kwargs or {})
        latents = _tensors(given, _LATENTS)
        timestep = _number(next((given[name] for name in _TIMESTEPS if name in given), None))
        condition = _tensors(given, _CONDITIONS)
        again = (
            self.count > 0
            and timestep == self.moment.timestep
            and _same(latents, self._latents)
            and self._is_another(condition)
        )
        self._named = [*(self._named if again else []), self._branch]
        self.moment = Moment(
            step=self.moment.step + (not again),
            timestep=timestep,
            run=self.moment.run + 1 if again else 0,
            branches=self._branches(latents),
        )
        self._latents, self._condition = latents, condition
        self.layout = read_layout(model, given)
        self.count += 1
        self._begun(given)
        self.running = True

    def _is_another(self, condition: list[torch.Tensor]) -> bool:
        """Whether this pass is another branch than those of the step before it."""
        if self._branch is not None:
            return self._branch not in self._named
        return not _same(condition, self._condition)

    def _end(self, model: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == self._thread:
            self.running = False

    def name_branch(self, name: str | None) -> None:
        """Told by the pipeline which guidance branch its next passes are."""
        if threading.get_ident() == self._thread:
            self._branch = name if name in ("cond", "uncond") else None

    def _branches(self, latents: list[torch.Tensor]) -> tuple[str | None, ...]:
        if not latents:
            return ()
        rows = latents[0] if len(latents) == 1 else latents  # a tensor, or a list of the items
        batch = len(rows)
        if self._branch is not None:
            return (self._branch,) * batch
        half = batch // 2
        if batch % 2 == 0 and _same(list(rows[:half]), list(rows[half:])):
            return ("uncond",) * half + ("cond",) * half
        return (None,) * batch


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


def _tensors(given: dict[str, Any], names: tuple[str, ...]) -> list[torch.Tensor]:
    """All tensors in the arguments whose names begin so, lists and tuples opened."""
    found = [value for name, value in given.items() if name.startswith(names)]
    return [leaf.detach() for leaf in _private.tree_leaves(found) if isinstance(leaf, torch.Tensor)]


def _same(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    """Whether these are equal tensors; of tensors without numbers nobody knows."""
    if len(some) != len(others) or any(t.device.type == "meta" for t in some):
        return False
    return all(
        a.shape == b.shape and a.device == b.device and torch.equal(a, b)
        for a, b in zip(some, others, strict=True)
    )


def _number(timestep: Any) -> float | None:
    """A timestep as a plain number: the first where each item or token has one of its own."""
    if isinstance(timestep, torch.Tensor):
        if timestep.device.type == "meta" or timestep.numel() == 0:
            return None
        return float(timestep.flatten()[0])
    return float(timestep) if isinstance(timestep, int | float) else None
