"""Layers whose answer is beyond doubt, for every aggregator."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from attnprobe import AttentionField
from attnprobe.fields import WordMaps
from attnprobe.group import Argmax, Spectral
from attnprobe.registry import entries, find
from attnprobe.stages import gives

OURS = [entry for entry in entries("aggregators") if entry.package == "attnprobe"]
OF_PLACES = [entry.name for entry in OURS if AttentionField in gives(entry.component)]
OF_WORDS = [entry.name for entry in OURS if WordMaps in gives(entry.component)]


def layers(name, field, words):
    """What the aggregator needs of two equal layers; features are those of the words."""
    needs = getattr(find("aggregators", name), "needs", {"maps"})
    field = replace(field, features=words.maps.permute(1, 2, 0))
    places = [replace(field, origin=f"layer.{i}") for i in range(2)] if "maps" in needs else []
    return places + ([words, words] if {"words", "tokens"} & set(needs) else [])


def blocks(owner):
    """Tokens that look evenly at their own group, and a word for each group."""
    same = torch.from_numpy(owner.ravel()[:, None] == owner.ravel()).double()
    maps = torch.stack([torch.from_numpy(owner == k).float() for k in range(owner.max() + 1)])
    field = AttentionField(same / same.sum(1, keepdim=True), owner.shape)
    return field, WordMaps(maps, tuple("abcde"[: len(maps)]))


OWNERS = {
    "in a row": np.repeat([[0, 1, 2]], [4, 3, 5], axis=1),
    "side by side": np.repeat([[0, 1, 2, 3]] * 9, [4, 2, 8, 6], axis=1),
    "all over the grid": np.random.default_rng(3).integers(0, 5, (12, 11)),
}


@pytest.mark.parametrize("layout", OWNERS)
@pytest.mark.parametrize("name", OF_PLACES)
def test_known_blocks_stay_apart(name, layout):
    owner = OWNERS[layout]
    field = find("aggregators", name)()(layers(name, *blocks(owner)))
    found = Spectral(clusters=owner.max() + 1)(field, rng=np.random.default_rng(0))
    assert adjusted_rand_score(owner.ravel(), found.labels.ravel()) == 1


@pytest.mark.parametrize("layout", OWNERS)
@pytest.mark.parametrize("name", OF_WORDS)
def test_words_stay_where_they_are_looked_at_from(name, layout):
    owner = OWNERS[layout]
    found = Argmax(divide="none")(find("aggregators", name)()(layers(name, *blocks(owner))))
    assert np.array_equal(found.labels, owner)


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (5, 4)])
@pytest.mark.parametrize("name", OF_PLACES)
def test_where_all_look_alike_every_column_is_even(name, grid):
    """Who looks is the same to all tokens; rollout keeps each token's look at itself beside it."""
    n = grid[0] * grid[1]
    even = AttentionField(torch.full((n, n), 1 / n), grid)
    rows = find("aggregators", name)()(
        layers(name, even, WordMaps(torch.ones(2, *grid), ("a", "b")))
    ).rows
    off = ~torch.eye(n, dtype=torch.bool)
    torch.testing.assert_close(rows.sum(0), torch.ones(n))
    torch.testing.assert_close(rows[off], rows[off][:1].expand(int(off.sum())))


@pytest.mark.parametrize("name", sorted({*OF_PLACES} - {"features", "markov"}))
def test_where_each_looks_at_itself_it_stays_so(name):
    itself = AttentionField(torch.eye(12), (3, 4))
    rows = find("aggregators", name)()(
        layers(name, itself, WordMaps(torch.ones(1, 3, 4), ("a",)))
    ).rows
    torch.testing.assert_close(rows, torch.eye(12))


@pytest.mark.parametrize("weights", ["absorbing", "stationary"])
def test_a_walk_that_can_not_leave_ends_where_it_began(weights):
    rows = find("aggregators", "markov")(weights)([AttentionField(torch.eye(12), (3, 4))]).rows
    expected = torch.eye(12)
    if weights == "stationary":  # it stops with chance 0.15 and begins anew at any token
        expected = 0.85 * expected + 0.15 / 12
    torch.testing.assert_close(rows, expected)
