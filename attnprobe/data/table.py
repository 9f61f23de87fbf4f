"""The classes of the benchmarks and their numbers in label files, from the tables in `tables/`.

A table is a CSV file: a row a class, in the order of the labels, with its name, its colour and the
numbers that stand for it, such as "100 113-117". A row `void` has the numbers that stand for none.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnprobe.data.base import VOID, Classes
from attnprobe.errors import ImageError

_FOLDER = Path(__file__).parent / "tables"
_REFUSED = -2
"""In a lookup: a number that stands for nothing, so that a file that has it is wrong."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """What the numbers in label files stand for.

    Args:
        lookup: (N,) int32; at each number its label, −1 for void, −2 where it isn't allowed.
    """

    lookup: np.ndarray

    def labels(self, numbers: np.ndarray) -> np.ndarray:
        """The labels (H, W), int32, of a label file's numbers.

        Raises:
            ImageError: a number that isn't allowed.
        """
        inside = (numbers >= 0) & (numbers < len(self.lookup))
        labels = self.lookup[np.where(inside, numbers, 0)]
        wrong = ~inside | (labels == _REFUSED)
        if wrong.any():
            allowed = said_as_ranges(np.flatnonzero(self.lookup != _REFUSED))
            raise ImageError(
                f"labels must be among {allowed}. Got {numbers[wrong][0]} instead, "
                f"at {wrong.sum()} of {wrong.size} pixels."
            )
        return labels


def plain_labels(count: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """From numbers to labels where they are the same: below `count`, if given.

    The largest number of the file's depth is void: 255 in uint8, 65535 in uint16.
    """
    return functools.partial(_plain, count)


def _plain(count: int | None, numbers: np.ndarray) -> np.ndarray:
    void = np.iinfo(numbers.dtype).max
    if count is None:
        return np.where(numbers == void, np.int32(VOID), numbers.astype(np.int32))
    lookup = np.full(max(count, void + 1), _REFUSED, np.int32)
    lookup[:count] = np.arange(count)
    lookup[void] = VOID
    return Numbers(lookup).labels(numbers)


@functools.cache
def load_table(name: str, background: bool = True) -> tuple[Classes, Numbers]:
    """The classes of a dataset, and what the numbers in its label files stand for.

    Args:
        name: of the table.
        background: whether a class `background` is one; otherwise it is void.
    """
    with open(_FOLDER / f"{name}.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    none = {"void"} if background else {"void", "background"}
    classes = [row for row in rows if row["name"] not in none]
    stands_for: dict[int, int] = {}
    for row in rows:
        label = classes.index(row) if row in classes else VOID
        stands_for |= dict.fromkeys(numbers_in_ranges(row["numbers"]), label)
    lookup = np.full(max(stands_for) + 1, _REFUSED, np.int32)
    lookup[list(stands_for)] = list(stands_for.values())
    return Classes(tuple(row["name"] for row in classes), _colours(classes)), Numbers(lookup)


def _colours(rows: list[dict[str, str]]) -> np.ndarray | None:
    if not rows[0]["colour"]:
        return None
    return np.array([list(bytes.fromhex(row["colour"][1:])) for row in rows], np.uint8)


def numbers_in_ranges(text: str) -> Iterator[int]:
    """The whole numbers that "100 113-117" says."""
    for part in text.split():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def said_as_ranges(numbers: np.ndarray) -> str:
    """Rising whole numbers as "100 113-117"."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return " ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)
