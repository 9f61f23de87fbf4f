"""Damage to a file of every kind that disks, downloads and people do; `damages` are pytest's cases.

What reads a file must answer each with what it made of it or a sentence, never another error, and
must not wait for ever.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import settings

Damage = Callable[[Path], None]

THOROUGH = 40
"""How many times as many cases `pytest --hypothesis-profile=thorough` has."""


def thorough() -> bool:
    """Whether all cases are wanted, of which a run has a part as a rule."""
    return settings.default.max_examples > 100  # what the profile `thorough` says


def examples(usual: int) -> int:
    """How many examples of a property there are, in this run."""
    return usual * THOROUGH if thorough() else usual


def of_content(change: Callable[[bytes], bytes]) -> Damage:
    """Write a file anew with other content; other names of the same file keep theirs."""

    def damage(path: Path) -> None:
        content = change(path.read_bytes())
        path.unlink()
        path.write_bytes(content)

    return damage


def flipped(seed: int) -> Damage:
    """One bit, anywhere."""

    def change(content: bytes) -> bytes:
        place = random.Random(seed).randrange(8 * max(len(content), 1))
        data = bytearray(content or b"\0")
        data[place // 8] ^= 1 << place % 8
        return bytes(data)

    return of_content(change)


def instead(make: Callable[[Path], object]) -> Damage:
    """Something else in the file's place."""

    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def text(content: str) -> Damage:
    return of_content(lambda _: content.encode())


DAMAGES: dict[str, Damage] = {
    "empty": of_content(lambda _: b""),
    "half": of_content(lambda content: content[: len(content) // 2]),
    "its last byte gone": of_content(lambda content: content[:-1]),
    "its first byte gone": of_content(lambda content: content[1:]),
    "twice": of_content(lambda content: content * 2),
    "zeros": of_content(lambda content: bytes(len(content))),
    "backwards": of_content(lambda content: content[::-1]),
    **{f"bit {seed}": flipped(seed) for seed in range(6)},
    "no UTF-8": of_content(lambda content: b"\xff\xfe\x80" + content),
    "a NUL in it": of_content(lambda content: content.replace(b"e", b"\0", 3)),
    "a list": text("[]"),
    "a list of lists": text("[[[1, [2]]]]"),
    "a number": text("3"),
    "a text": text('"words"'),
    "null": text("null"),
    "a mapping": text('{"images": 1, "0": {"dtype": "F32", "shape": [1]}}'),
    "deep": text("[" * 100_000),
    "deep and closed": text('{"a":' * 5_000 + "1" + "}" * 5_000),
    "a long number": text("9" * 5_000),
    "a long number in it": text('{{"images": [{}], "format": {}}}'.format("9" * 5_000, "9" * 400)),
    "not a number": text('{"images": NaN, "seconds": -Infinity}'),
    "a table's frame": text("PAR1" + "\0" * 100 + "PAR1"),
    "a line more": of_content(lambda content: content + b"\n[[[]]]\n"),
    "no JSON": text("key: {unfinished"),
    "YAML's tags": text("!!python/object/apply:os.system ['false']"),
    "a pipe": instead(os.mkfifo),
    "a folder": instead(os.mkdir),
    "a link to itself": instead(lambda path: path.symlink_to(path.name)),
    "a link to nothing": instead(lambda path: path.symlink_to("/nonexistent/file")),
    "a device without end": instead(lambda path: path.symlink_to("/dev/zero")),
    "gone": instead(lambda path: None),
}


def damages(names: Iterable[str]) -> pytest.MarkDecorator:
    """Parametrise by `name` of a file and `damage`; each of both is there in every run."""
    files, kinds = [*names], [*DAMAGES]
    pairs = [(name, kind) for name in files for kind in kinds]
    if not thorough():
        turns = max(len(files), len(kinds))
        pairs = [(files[i % len(files)], kinds[i % len(kinds)]) for i in range(turns)]
    return pytest.mark.parametrize(
        ("name", "damage"),
        [pytest.param(name, DAMAGES[kind], id=f"{name}: {kind}") for name, kind in pairs],
    )


def in_time(work: Callable[[], object], seconds: float = 120) -> bool:
    """Whether some work ends, well: what reads a pipe never would. What it raises is raised."""
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0]
    return not thread.is_alive()


def copied(whole: Path, place: Path) -> Path:
    """A copy of a folder to be damaged, of the same files: damage replaces them."""
    shutil.copytree(whole, place, copy_function=os.link)
    return place
