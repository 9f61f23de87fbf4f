from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from attnprobe import AttnProbeError, Segmentation
from attnprobe.registry import entries
from attnprobe.testing import check_grouper, sample_fields

GROUPERS = [entry for entry in entries("groupers") if entry.package == "attnprobe"]


REQUIRED = {"sklearn": {"estimator": "DBSCAN"}}


@pytest.mark.parametrize("entry", GROUPERS, ids=lambda entry: entry.name)
def test_every_grouper_of_ours_keeps_the_contract(entry):
    check_grouper(entry.component(**REQUIRED.get(entry.name, {})))


@dataclass(frozen=True)
class Halves:
    """The left half and the right.

    Args:
        first: the left one's number.
    """

    first: int = 0

    def __call__(self, field, *, rng, truth=None):
        labels = np.full(field.grid, self.first)
        labels[:, field.grid[1] // 2 :] = 1
        return Segmentation(labels)


def test_labels_alone_are_enough():
    check_grouper(Halves())


@dataclass
class Thawed:
    """Not frozen."""


@dataclass(frozen=True)
class Silent(Halves):
    first: int = 0


@dataclass(frozen=True)
class Terse(Halves):
    """Says nothing of its field."""


class Variant(Halves):
    """Of a test.

    Args:
        first: number.
    """


class Wrong(Variant):
    def __call__(self, field, *, rng, truth=None):
        return Segmentation(np.zeros((field.grid[0] + 1, field.grid[1]), int))


class Bare(Variant):
    def __call__(self, field, *, rng, truth=None):
        return np.zeros(field.grid, int)


class Moody(Variant):
    def __call__(self, field, *, rng, truth=None):
        return Segmentation(np.random.randint(9, size=field.grid))  # noqa: NPY002


class Scribbler(Variant):
    def __call__(self, field, *, rng, truth=None):
        field.rows[0] = field.rows[1]
        return super().__call__(field, rng=rng)


class TruthScribbler(Variant):
    def __call__(self, field, *, rng, truth=None):
        if truth is not None:
            truth[truth < 0] = 0
        return super().__call__(field, rng=rng)


class Contrary(Variant):
    def __call__(self, field, *, rng, truth=None):
        answer = super().__call__(field, rng=rng)
        maps = torch.stack([torch.from_numpy(answer.labels == k).float() for k in (1, 0)])
        return replace(answer, proposals=maps)


class Infinite(Variant):
    def __call__(self, field, *, rng, truth=None):
        return Segmentation(np.zeros(field.grid, int), torch.full((1, *field.grid), np.inf))


class Slow(Variant):
    def __call__(self, field, *, rng, truth=None):
        __import__("time").sleep(0.02)
        return super().__call__(field, rng=rng)


class Square(Variant):
    def __call__(self, field, *, rng, truth=None):
        if field.grid[0] != field.grid[1]:
            raise ValueError("square only")
        return super().__call__(field, rng=rng)


class Choosy(Variant):
    def __call__(self, field, *, rng, truth=None):
        if field.grid == (3, 7):
            raise AttnProbeError("not this one")
        return super().__call__(field, rng=rng)


class Strict(Variant):
    def __call__(self, field, *, rng, truth=None):
        if len(field.rows) < 21 or truth is None:
            raise AttnProbeError("too small, or no truth")
        return super().__call__(field, rng=rng)


@dataclass(frozen=True)
class Unpicklable(Halves):
    """Holds what pickle can't.

    Args:
        first: number.
        how: function.
    """

    how: object = field(default_factory=lambda: lambda: 0)


@pytest.mark.parametrize(
    ("component", "sentence"),
    [
        (Halves, "give an instance, not the class"),
        (Thawed(), "Thawed: must be a frozen dataclass"),
        (Silent(), "Silent: must have a docstring"),
        (Terse(), "Terse: its docstring has no 'Args:' line for first"),
        (Unpicklable(), "Unpicklable: must survive pickling"),
        (Wrong(), r"Wrong on the field 'blobs' .*must have the field's grid \(8, 8\)"),
        (Bare(), "must answer with a Segmentation"),
        (Moody(), "two calls with one rng seed gave different labels"),
        (Scribbler(), "wrote into the field"),
        (TruthScribbler(), "with a truth: it wrote into the truth"),
        (Contrary(), "labels must be the proposals' argmax"),
        (Infinite(), "proposals must be finite"),
        (Square(), "'wide blobs' .*ValueError: square only"),
        (Choosy(), "with a truth: refused an ordinary field: not this one"),
    ],
)
def test_each_breach_is_told(component, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_grouper(component)


def test_a_slow_one_is_told():
    with pytest.raises(AssertionError, match=r"took 0.0 s, more than 0.01"):
        check_grouper(Slow(), seconds=0.01)


def test_degenerate_fields_may_be_refused():
    check_grouper(Strict())


def test_the_fields_are_of_all_sorts():
    fields = sample_fields()
    assert {f.grid[0] * f.grid[1] for f in fields.values()} >= {1, 2, 64}
    assert any(f.grid[0] != f.grid[1] for f in fields.values())
    assert any((f.rows == 0).any() for f in fields.values())
