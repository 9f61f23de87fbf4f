"""A lock that an interrupt can't leave locked.

Ctrl-C may come when a ``with`` statement has just taken a lock, or is about to free it; a lock of
`threading` then stays locked for good, and every other thread waits for ever.
"""

from __future__ import annotations

import threading
import time
import weakref
from contextlib import suppress

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
