"""What an interrupt can't break: a ``with`` block that is all or nothing, and the lock it takes."""

from __future__ import annotations

import functools
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from attnprobe.errors import CaptureError

_PAUSE = 0.0005
"""Seconds between two looks at whether a lock is free; what is done under one takes less."""


class Guard:
    """Lets one thread at a time through, that one as often as it likes: ``with guard.held():``."""

    def __init__(self) -> None:
        self.queue: list[weakref.ref[Held]] = []
        """Who holds it, and who waits: those that are gone hold nothing."""

    def held(self) -> Held:
        """The lock for the length of one ``with`` statement."""
        return Held(self)


class Held:
    """A ``with`` statement's hold on a guard: it lasts no longer than this object.

    Of the queue only single calls are made, each of which is done in one go for all threads.
    """

    def __init__(self, guard: Guard) -> None:
        self._queue, self._ref, self.thread = guard.queue, weakref.ref(self), threading.get_ident()

    def __enter__(self) -> None:
        try:
            self._queue.append(self._ref)
            while not self._first():
                time.sleep(_PAUSE)
        except BaseException:
            self._remove(self._ref)
            raise

    def __exit__(self, *exception: object) -> None:
        self._remove(self._ref)

    def _first(self) -> bool:
        """Whether it is our turn, or our thread's by a statement around this one."""
        while (first := self._queue[0])() is None:
            self._remove(first)
        holder = first()
        return holder is not None and holder.thread == self.thread

    def _remove(self, ref: weakref.ref[Held]) -> None:
        with suppress(ValueError):  # another thread may have done it
            self._queue.remove(ref)


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
