"""Fields whose segments are beyond doubt, for every grouper: found exactly, with fit parameters."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from attnprobe import AttentionField, AttnProbeError
from attnprobe.fields import WordMaps
from attnprobe.registry import entries, find
from attnprobe.stages import takes
from tests.group.fields import permuted, rng, uniform

OURS = [entry for entry in entries("groupers") if entry.package == "attnprobe"]
OF_PLACES = [entry.name for entry in OURS if AttentionField in takes(entry.component)]
OF_WORDS = [entry.name for entry in OURS if WordMaps in takes(entry.component)]

FOR = {
    "agglomerative": lambda count: {"clusters": count},
    "diffseg": lambda count: {"anchors": 99},
    "kmeans": lambda count: {"clusters": count},
    "kway-ncut": lambda count: {"clusters": count},
    "ncut": lambda count: {},
    "sklearn": lambda count: {
        "estimator": "AgglomerativeClustering",
        "params": {"n_clusters": count, "linkage": "average"},
        "on": "distance",
    },
    "spectral": lambda count: {"clusters": count},
}
"""Parameters with which a grouper finds so many segments."""


def made(name, count):
    return find("groupers", name)(**FOR[name](count))


def block_field(owner, leak=0.0):
    """Tokens that look evenly at their own group, and with a share of `leak` at everything."""
    same = torch.from_numpy(owner.ravel()[:, None] == owner.ravel()).double()
    rows = (1 - leak) * same / same.sum(1, keepdim=True) + leak / owner.size
    return AttentionField(rows, owner.shape)


LAYOUTS = {
    "in a row": np.repeat([[0, 1, 2]], [4, 3, 5], axis=1),
    "a token alone": np.repeat([[0, 1]], [1, 7], axis=1),
    "side by side": np.repeat([[0, 1, 2, 3]] * 9, [4, 2, 8, 6], axis=1),
    "all over the grid": rng(3).integers(0, 5, (12, 11)),
}


@pytest.mark.parametrize("leak", [0.0, 0.1])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", OF_PLACES)
def test_known_blocks_are_found_exactly(name, layout, leak):
    owner = LAYOUTS[layout]
    found = made(name, len(np.unique(owner)))(block_field(owner, leak), rng=rng())
    assert adjusted_rand_score(owner.ravel(), found.labels.ravel()) == 1


@pytest.mark.parametrize("name", OF_PLACES)
def test_known_blocks_are_found_wherever_their_tokens_lie(name):
    owner = LAYOUTS["side by side"]
    order = rng(1).permutation(owner.size)
    found = made(name, 4)(permuted(block_field(owner), order), rng=rng())
    assert adjusted_rand_score(owner.ravel()[order], found.labels.ravel()) == 1


@pytest.mark.parametrize("grid", [(1, 1), (1, 9), (9, 1), (5, 4), (20, 15)])
@pytest.mark.parametrize("name", sorted({*OF_PLACES} - {"sklearn"}))
def test_where_all_look_alike_there_is_one_segment(name, grid):
    assert made(name, 3)(uniform(*grid), rng=rng()).count == 1


def test_scikit_learn_s_say_what_they_refuse():
    with pytest.raises(AttnProbeError, match="refused a field of 1 tokens: Found array with 1 s"):
        made("sklearn", 3)(uniform(1, 1), rng=rng())
    density = find("groupers", "sklearn")("DBSCAN", {"eps": 0.1}, on="distance")
    assert density(uniform(5, 4), rng=rng()).count == 1


@pytest.mark.parametrize("grid", [(1, 9), (5, 4), (16, 15)])
@pytest.mark.parametrize("name", OF_PLACES)
def test_where_each_looks_at_itself_there_is_a_segment_a_token(name, grid):
    tokens = grid[0] * grid[1]
    field = AttentionField(torch.eye(tokens), grid)
    assert made(name, tokens)(field, rng=rng()).count == tokens


def test_every_grouper_is_tried():
    assert set(FOR) == set(OF_PLACES)
    assert set(OF_WORDS) == {"argmax", "threshold", "token-merge"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_words_that_own_their_places_are_found_exactly(layout):
    owner = LAYOUTS[layout]
    words = tuple("abcde"[: owner.max() + 1])
    maps = torch.stack([torch.from_numpy(owner == k).float() for k in range(len(words))])
    field = WordMaps(0.2 + maps, words)
    found = find("groupers", "argmax")()(field, rng=rng())
    assert adjusted_rand_score(owner.ravel(), found.labels.ravel()) == 1
    for number, word in enumerate(words):
        mask = find("groupers", "threshold")(word=word)(field, rng=rng())
        assert np.array_equal(mask.labels == 1, owner == number)


@pytest.mark.parametrize("value", [0.0, 0.3])
@pytest.mark.parametrize("grid", [(1, 1), (1, 6), (4, 3)])
@pytest.mark.parametrize("name", OF_WORDS)
def test_a_word_that_is_looked_at_evenly_or_never_parts_nothing(name, grid, value):
    field = WordMaps(torch.full((1, *grid), value), ("cat",))
    assert find("groupers", name)()(field, rng=rng()).count == 1
