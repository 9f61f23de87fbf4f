"""A ``with`` block that is all or nothing, at whatever moment Ctrl-C is pressed."""

from __future__ import annotations

import functools
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

from attnprobe.errors import CaptureError
from attnprobe.hooks.guard import Guard

_lock = Guard()


class _Exit:
    """`Block.__exit__`, which an interrupt on its way there doesn't keep from being called.

    A ``with`` statement fetches it before it enters, and lets go of it when it is left in any way
    whatever: between the two the block can be told to end even where ``__exit__`` was never begun.
    """

    def __get__(self, block: Block | None, owner: type | None = None) -> Callable[..., None]:
        if block is None:
            return Block.end
        end = functools.partial(Block.end, block)
        if not block.is_open:
            weakref.finalize(end, block.abandon, threading.get_ident()).atexit = False
        return end


class Block(ABC):
    """Something put on for the length of a ``with`` block.

    An interrupt may come between any two lines, so `take_off` is called again if it was cut short.
    """

    _opened_by: int | None = None

    @abstractmethod
    def put_on(self) -> None:
        """Do what the block needs."""

    @abstractmethod
    def take_off(self) -> None:
        """Undo as much of `put_on` as was done and is not undone yet: none of it, or all."""

    @abstractmethod
    def check(self) -> None:
        """Look at what a block that ended well has left."""

    @property
    def is_open(self) -> bool:
        """Whether the block was entered and has not ended."""
        return self._opened_by is not None

    def __enter__(self) -> Self:
        with _lock.held():
            if self.is_open:
                raise CaptureError("these hooks are open already; make others for another block")
            self._opened_by = threading.get_ident()
        try:
            self.put_on()
            return self
        except BaseException:
            self._close()
            raise

    __exit__ = _Exit()

    def end(self, kind: type[BaseException] | None = None, *rest: Any) -> None:
        """End the block."""
        try:
            self._close()
        except BaseException:
            self._close()
            raise
        if kind is None:
            self.check()

    def abandon(self, thread: int) -> None:
        """End a block of that thread that its ``with`` statement has left open."""
        if self._opened_by == thread == threading.get_ident():
            self._close()

    def _close(self) -> None:
        self.take_off()
        self._opened_by = None
