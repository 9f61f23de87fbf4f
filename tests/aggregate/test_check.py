"""Each breach of an aggregator's contract is told; `tests/test_testing.py` checks all of ours."""

import time
from dataclasses import dataclass, replace

import pytest
import torch

from attnprobe import AttentionField, AttnProbeError
from attnprobe.fields import WordMaps
from attnprobe.resample import finest
from attnprobe.testing import check_aggregator, sample_layers


@dataclass(frozen=True)
class First:
    """The first layer of the finest grid.

    Args:
        scale: nothing.
    """

    scale: int = 1

    def __call__(self, fields):
        if not fields:
            raise AttnProbeError("no layers")
        grid = finest(field.grid for field in fields)
        return next(field for field in fields if field.grid == grid)


class OfWords(First):
    needs = frozenset({"words"})

    def __call__(self, fields) -> WordMaps:
        return super().__call__(fields)


class OfBoth(First):
    needs = frozenset({"maps", "words"})

    def __call__(self, fields):
        if not fields:
            raise AttnProbeError("no layers")
        assert {type(field) for field in fields} == {AttentionField, WordMaps}
        return fields[0]


class OfFeatures(First):
    needs = frozenset({"maps", "features"})

    def __call__(self, fields):
        answer = super().__call__(fields)
        assert answer.features.shape[:2] == answer.grid
        return answer


class Choosy(First):
    def __call__(self, fields):
        if len(fields) != 2:
            raise AttnProbeError("two layers only")
        return fields[0]


class Careless(First):
    def __call__(self, fields):
        return fields[0]


class Credulous(First):
    def __call__(self, fields):
        return super().__call__(fields) if fields else None


class Scribbler(First):
    def __call__(self, fields):
        answer = super().__call__(fields)
        answer.rows[0] = answer.rows[-1]
        return answer


class Loose(First):
    def __call__(self, fields):
        return super().__call__(fields).rows


class Mistaken(First):
    def __call__(self, fields) -> WordMaps:
        return super().__call__(fields)


class Negative(First):
    def __call__(self, fields):
        answer = super().__call__(fields)
        n = len(answer.rows)
        return replace(answer, rows=2 * answer.rows - 1 / n)


class Unscaled(First):
    def __call__(self, fields):
        answer = super().__call__(fields)
        return replace(answer, rows=1.005 * answer.rows)


class Moody(First):
    def __call__(self, fields):
        answer = super().__call__(fields)
        n = len(answer.rows)
        return replace(answer, rows=torch.rand(n, n).softmax(1))


class Slow(First):
    def __call__(self, fields):
        time.sleep(0.02)
        return super().__call__(fields)


class Broken(First):
    def __call__(self, fields):
        if fields[0].grid == (4, 8):
            raise ValueError("square only")
        return super().__call__(fields)


@pytest.mark.parametrize("component", [First(), OfWords(), OfBoth(), OfFeatures()])
def test_what_keeps_the_contract_passes(component):
    check_aggregator(component)


@pytest.mark.parametrize(
    ("component", "sentence"),
    [
        (First, "give an instance, not the class"),
        (Choosy(), "on the layers 'several grids' .*refused ordinary input: two layers only"),
        (Careless(), "Careless without layers: IndexError"),
        (Credulous(), "Credulous without layers: must refuse them with an AttnProbeError"),
        (Scribbler(), "it wrote into the layers"),
        (Loose(), "must answer with AttentionField. Got Tensor"),
        (Mistaken(), "must answer with WordMaps. Got AttentionField"),
        (Negative(), "probabilities must be 0 or more. Row 0 has -0.0"),
        (Unscaled(), "rows must sum to 1; one is off by 0.005"),
        (Moody(), "two calls gave different fields"),
        (Broken(), "on the layers 'wide grids' .*ValueError: square only"),
    ],
)
def test_each_breach_is_told(component, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_aggregator(component)


def test_a_slow_one_is_told():
    with pytest.raises(AssertionError, match="s, more than "):
        check_aggregator(Slow(), seconds=0.01)


def test_the_layers_are_of_all_sorts():
    layers = sample_layers({"maps", "words", "features"})
    assert {len(each) for each in layers.values()} >= {2, 4, 8}
    sizes = {field.grid for each in layers.values() for field in each}
    assert {(1, 1), (1, 5), (5, 7), (8, 8)} <= sizes
    assert any(bool((f.rows == 0).any()) for f, *_ in layers.values())
