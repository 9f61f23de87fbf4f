"""A lock that is one thread's at a time, and free again whatever interrupted its holder."""

import sys
import threading
from contextlib import suppress
from itertools import count

from attnprobe.hooks import block as module
from attnprobe.hooks.block import Guard


def free(guard: Guard) -> bool:
    """Whether another thread comes through."""
    through = threading.Event()

    def work():
        with guard.held():
            through.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(30)
    return through.is_set()


def test_one_thread_at_a_time():
    guard, inside, most, turns = Guard(), [], [], []

    def work():
        for _ in range(200):
            with guard.held(), guard.held():
                inside.append(1)
                most.append(len(inside))
                turns.append(1)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(before)
    assert (len(turns), max(most), guard.queue) == (1600, 1, [])


def test_a_thread_waits_for_the_holder():
    guard = Guard()
    with guard.held():
        thread = threading.Thread(target=free, args=(guard,))
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
        with guard.held():  # its own once more
            pass
        assert thread.is_alive()
    thread.join(30)
    assert not thread.is_alive()


def test_an_interrupt_at_any_line_leaves_it_free():
    """Also at those where a lock of `threading` would stay locked."""

    def interrupted_at(at: int, guard: Guard) -> bool:
        """Whether there were as many lines."""
        lines = count(1)

        def line(frame, event, argument):
            if event == "line" and next(lines) == at:
                sys.settrace(None)
                raise KeyboardInterrupt
            return line

        def use():
            with guard.held():
                done = True
            return done

        names = (module.__file__, __file__)
        sys.settrace(lambda frame, *_: line if frame.f_code.co_filename in names else None)
        try:
            use()
            return False
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)

    tried = 0
    for at in count(1):
        guard = Guard()
        with suppress(KeyboardInterrupt):
            if not interrupted_at(at, guard):
                break
        assert free(guard), f"line {at}"
        tried = at
    assert tried > 10
