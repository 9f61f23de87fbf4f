"""Things overridden for a while, shared by all who need them.

Two captures may watch one model, nested or in two threads, and end in any order: so an override is
made once, tells every listener, and the last one to leave puts things back as they were. Whatever
is done is written down first, so that leaving finds all of it, also what an interrupt left half
done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from attnprobe.hooks import _private
from attnprobe.hooks.block import Guard

# Reentrant: a block that was abandoned may end while its thread is in here.
_lock = Guard()
_made: tuple[Override, ...] = ()
_eager_blocks: tuple[Any, ...] = ()
_stance: Any = None


class Override:
    """A method in place of another; `original` is what it was, `listeners` whom it tells."""

    def __init__(
        self, owner: Any, name: str, make: Callable[[Override], Any], listener: Any
    ) -> None:
        self.owner, self.name = owner, name
        self.original: Callable[..., Any] = getattr(owner, name)
        self.previous = vars(owner).get(name)
        # Replaced as a whole, never changed: another thread may be going through it.
        self.listeners: tuple[Any, ...] = (listener,)
        self.method = make(self)
        self.method.attnprobe_override = self

    def restore(self) -> None:
        """Put the method back that was there; one that somebody else has put there stays."""
        if vars(self.owner).get(self.name) is not self.method:
            return
        if self.previous is None:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.previous)


def listen(owner: Any, name: str, make: Callable[[Override], Any], listener: Any) -> None:
    """Override `owner.name` by what `make` makes of the override, or join one already made."""
    global _made
    with _lock.held():
        override = getattr(vars(owner).get(name), "attnprobe_override", None)
        if override is None:
            override = Override(owner, name, make, listener)
        elif listener not in override.listeners:
            override.listeners = (*override.listeners, listener)
        if override not in _made:
            _made = (*_made, override)
        setattr(owner, name, override.method)


def leave(listener: Any) -> None:
    """Stop listening anywhere; methods that nobody listens to any more are as they were."""
    global _made
    with _lock.held():
        for override in _made:
            override.listeners = tuple(one for one in override.listeners if one is not listener)
            if not override.listeners:
                override.restore()
                _made = tuple(other for other in _made if other is not override)


def force_eager(block: Any) -> None:
    """Compiled graphs hide their calls: from now on compiled models run as they were written.

    The stance is one for the whole process, so the first block sets it and the last restores it.
    """
    global _eager_blocks, _stance
    with _lock.held():
        if _stance is None:
            _stance = _private.stance()
            torch.compiler.set_stance("force_eager")
        _eager_blocks = (*_eager_blocks, block)


def allow_compiled(block: Any) -> None:
    """End what `force_eager` began for a block."""
    global _eager_blocks, _stance
    with _lock.held():
        _eager_blocks = tuple(other for other in _eager_blocks if other is not block)
        if not _eager_blocks and _stance is not None:
            _private.restore_stance(_stance)
            _stance = None
