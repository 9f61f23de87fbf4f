"""Methods overridden on an instance for a while, shared by all who listen.

Two captures may watch one model, nested or in two threads, and end in any order: so an override is
made once, tells every listener, and the last one to leave puts things back as they were.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

_lock = threading.Lock()


class Override:
    """The method in place of another; `original` is what it was, `listeners` whom it tells."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner = owner
        self.original: Callable[..., Any] = getattr(owner, name)
        self.previous = vars(owner).get(name)
        self.listeners: list[Any] = []


def listen(owner: Any, name: str, make: Callable[[Override], Any], listener: Any) -> None:
    """Override `owner.name` by what `make` makes of the override, or join one already made."""
    with _lock:
        method = vars(owner).get(name)
        override = getattr(method, "attnprobe_override", None)
        if override is None:
            override = Override(owner, name)
            method = make(override)
            method.attnprobe_override = override
            setattr(owner, name, method)
        override.listeners.append(listener)


def leave(owner: Any, name: str, listener: Any) -> None:
    """Stop listening; the last one restores the method that was there."""
    with _lock:
        override = getattr(vars(owner).get(name), "attnprobe_override", None)
        if override is None or listener not in override.listeners:
            return
        override.listeners.remove(listener)
        if override.listeners:
            return
        if override.previous is None:
            delattr(owner, name)
        else:
            setattr(owner, name, override.previous)
