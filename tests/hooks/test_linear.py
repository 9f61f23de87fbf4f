"""The axes over which recorders say they are linear, by property; the others, by counterexample."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe.hooks import (
    Entropy,
    Features,
    HeadMax,
    HeadMean,
    Keep,
    PerHead,
    Pooled,
    Rows,
    TokenMaps,
    Tokens,
    TopK,
)
from tests.hooks.calls import call_of

IMAGE = Tokens.runs(("image", 8), grid=(1, 2, 4))
TEXT = Tokens.runs(("text", 8))
RECORDERS = [
    HeadMean(),
    HeadMax(),
    PerHead(),
    PerHead((1,)),
    Rows(((0, 1), (1, 3))),
    Pooled((2, 2)),
    TokenMaps({"cat": (0, 1), "sofa": (2, 3, 4, 5)}),
    Entropy(),
    TopK(3),
    Features(),
    Keep("probs"),
    Keep("out"),
    Keep("logits"),
    Keep("probs", "out"),
]
BY_OWN_KEYS = (Pooled, TokenMaps, Entropy, TopK, Features)
AXES = ("heads", "steps", "layers", "keys")
PAIRS = [(recorder, axis) for recorder in RECORDERS for axis in AXES]


def record(recorder, probs, v) -> torch.Tensor:
    keys = TEXT if isinstance(recorder, TokenMaps) else IMAGE
    value = recorder.record(call_of(probs, v, IMAGE, keys))
    parts = value.values() if isinstance(value, dict) else (value,)
    return torch.cat([part.flatten(1).float() for part in parts], 1)


def both_ways(recorder, axis: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Averaged (keys: summed in pairs) before it records, and after."""
    draw = torch.Generator().manual_seed(seed)
    probs, others = torch.randn(2, 2, 3, 8, 8, generator=draw).mul(2).softmax(-1)
    v, other_v = torch.randn(2, 2, 3, 8, 5, generator=draw)
    if axis == "keys":
        return keys_both_ways(recorder, probs, v)
    if axis == "steps":
        other_v = v  # each head and each layer has values of its own, a step does not
    before = record(recorder, (probs + others) / 2, (v + other_v) / 2)
    after = (record(recorder, probs, v) + record(recorder, others, other_v)) / 2
    return before, after


def keys_both_ways(recorder, probs, v) -> tuple[torch.Tensor, torch.Tensor]:
    """Two keys side by side become one, which lies where the first of them was."""
    before, after = record(recorder, paired(probs), v), record(recorder, probs, v)
    has_keys = not isinstance(recorder, BY_OWN_KEYS) and "out" not in getattr(
        recorder, "tensors", ()
    )
    return before, paired(after.unflatten(1, (-1, 8))).flatten(1) if has_keys else after


def paired(maps: torch.Tensor) -> torch.Tensor:
    sums = maps.unflatten(-1, (-1, 2)).sum(-1)
    return torch.stack([sums, torch.zeros_like(sums)], -1).flatten(-2)


@pytest.mark.parametrize(("recorder", "axis"), [(r, a) for r, a in PAIRS if a in r.linear], ids=str)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_what_is_claimed_holds(recorder, axis, seed):
    before, after = both_ways(recorder, axis, seed)
    torch.testing.assert_close(before, after, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("recorder", "axis"), [(r, a) for r, a in PAIRS if a not in r.linear], ids=str
)
def test_what_is_not_claimed_has_a_counterexample(recorder, axis):
    before, after = both_ways(recorder, axis, seed=0)
    assert (before.nan_to_num(neginf=-99) - after.nan_to_num(neginf=-99)).abs().max() > 0.01


def test_averaged_queries_and_keys_give_no_averaged_maps():
    draw = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 6, 8, generator=draw), torch.randn(2, 6, 8, generator=draw)
    mean = (q @ k.transpose(1, 2)).softmax(-1).mean(0)
    assert ((q.mean(0) @ k.mean(0).T).softmax(-1) - mean).abs().max() > 0.1
    for name in ("q", "k", "v"):
        assert Keep(name).linear == Keep("probs", name).linear == frozenset()


def test_several_tensors_are_linear_where_each_is():
    assert Keep("probs", "out").linear == {"steps"}
