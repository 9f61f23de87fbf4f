"""Things overridden for a while, shared by all who need them.

Two captures may watch one model, nested or in two threads, and end in any order: so an override is
made once, tells every listener, and the last one to leave puts things back as they were.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

_lock = threading.Lock()
_eager_blocks = 0
_stance: Any = None


class Override:
    """A method in place of another; `original` is what it was, `listeners` whom it tells."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name
        self.original: Callable[..., Any] = getattr(owner, name)
        self.previous = vars(owner).get(name)
        self.method: Any = None
        # Replaced as a whole, never changed: another thread may be going through it.
        self.listeners: tuple[Any, ...] = ()


def listen(owner: Any, name: str, make: Callable[[Override], Any], listener: Any) -> Override:
    """Override `owner.name` by what `make` makes of the override, or join one already made."""
    with _lock:
        override = getattr(vars(owner).get(name), "attnprobe_override", None)
        if override is None:
            override = Override(owner, name)
            override.method = make(override)
            override.method.attnprobe_override = override
            setattr(owner, name, override.method)
        override.listeners = (*override.listeners, listener)
        return override


def leave(override: Override, listener: Any) -> None:
    """Stop listening; the last one restores the method that was there.

    A method that somebody else has put in its place meanwhile stays.
    """
    with _lock:
        override.listeners = tuple(one for one in override.listeners if one is not listener)
        owner, name = override.owner, override.name
        if override.listeners or vars(owner).get(name) is not override.method:
            return
        if override.previous is None:
            delattr(owner, name)
        else:
            setattr(owner, name, override.previous)


@contextmanager
def force_eager() -> Iterator[None]:
    """Compiled graphs hide their calls: for the block, compiled models run as they were written.

    The stance is one for the whole process, so the first block sets it and the last restores it.
    """
    global _eager_blocks, _stance
    with _lock:
        if not _eager_blocks:
            _stance = torch.compiler.set_stance("force_eager")
        _eager_blocks += 1
    try:
        yield
    finally:
        with _lock:
            _eager_blocks -= 1
            if not _eager_blocks:
                _stance.__exit__(None, None, None)
