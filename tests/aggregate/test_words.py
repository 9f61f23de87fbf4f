"""Aggregators of words' maps and of features, against their definitions written out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from attnprobe import AttentionField, AttnProbeError
from attnprobe.aggregate import Cross, Features, Multiscale, SelfCross
from attnprobe.aggregate.features import cosine_affinity
from attnprobe.fields import WordMaps

WORDS = ("star", "disc", "ground")


def words(grid, seed=0, names=WORDS) -> WordMaps:
    generator = torch.Generator().manual_seed(seed)
    return WordMaps(torch.rand(len(names), *grid, generator=generator), names, f"layer {seed}")


def field(grid, seed=0, channels=None) -> AttentionField:
    generator = torch.Generator().manual_seed(seed)
    n = grid[0] * grid[1]
    rows = torch.rand(n, n, generator=generator)
    features = channels and torch.randn(*grid, channels, generator=generator)
    return AttentionField(rows / rows.sum(1, keepdim=True), grid, f"layer {seed}", features)


def test_cross_is_the_mean_of_the_enlarged_maps():
    layers = [words((8, 12), 0), words((4, 6), 1), words((2, 3), 2)]
    found = Cross()(layers)
    assert (found.grid, found.words) == ((8, 12), WORDS)
    enlarged = [F.interpolate(m.maps[None], size=(8, 12), mode="bilinear")[0] for m in layers]
    torch.testing.assert_close(found.maps, (enlarged[0] + enlarged[1] + enlarged[2]) / 3)


def test_the_order_of_layers_does_not_matter():
    layers = [words((8, 12), 0), words((4, 6), 1), field((8, 12), 3), field((4, 6), 4)]
    torch.testing.assert_close(SelfCross()(layers).maps, SelfCross()(layers[::-1]).maps)


@given(st.integers(0, 4))
def test_self_cross_is_a_power_of_the_field_times_the_word_maps(power):
    layers = [field((4, 6), 1), field((2, 3), 2), words((2, 3), 3)]
    found = SelfCross(power=power)(layers)
    rows = Multiscale()(layers[:2]).rows.double().numpy()
    start = Cross()([words((2, 3), 3)]).maps
    start = F.interpolate(start[None], size=(4, 6), mode="bilinear")[0].double().flatten(1).numpy()
    expected = np.linalg.matrix_power(rows, power) @ start.T
    np.testing.assert_allclose(found.maps.flatten(1).T.numpy(), expected, atol=1e-5)


def test_a_spread_map_stays_within_its_values():
    """Rows sum to 1, so each value is a mean of the old ones."""
    given = words((6, 6), 4)
    found = SelfCross(power=3)([field((6, 6), 5), given])
    assert found.maps.amax() <= given.maps.amax() + 1e-6
    assert found.maps.amin() >= given.maps.amin() - 1e-6


def test_layers_must_agree_on_the_words_and_be_there():
    with pytest.raises(AttnProbeError, match="Cross: needs the maps of words of at least one lay"):
        Cross()([])
    with pytest.raises(AttnProbeError, match=r"same words. Got star, disc, ground and star, moon"):
        Cross()([words((2, 2)), words((2, 2), names=("star", "moon"))])
    with pytest.raises(AttnProbeError, match="SelfCross: needs at least one attention field"):
        SelfCross()([words((2, 2))])


def test_features_are_cosines_between_zero_and_one():
    layers = [field((3, 4), 0, channels=7), field((2, 5), 1, channels=6)]
    found = Features(exponent=3)(layers)
    assert found.grid == (2, 5)
    assert torch.equal(found.features, layers[1].features)
    cosines = cosine_similarity(layers[1].features.flatten(0, 1).double().numpy())
    level = (cosines - cosines.min()) / (cosines.max() - cosines.min())
    expected = level**3 / (level**3).sum(1, keepdims=True)
    np.testing.assert_allclose(found.rows.numpy(), expected, atol=1e-6)
    assert Features(layer="layer 0")(layers).grid == (3, 4)


def test_equal_features_are_all_alike():
    assert torch.equal(cosine_affinity(torch.ones(5, 3)), torch.ones(5, 5))
    one = field((1, 1), channels=2)
    assert torch.equal(Features()([one]).rows, torch.ones(1, 1))


def test_features_need_to_have_been_captured():
    with pytest.raises(AttnProbeError, match="no outputs were captured of layer 'layer 0'"):
        Features()([field((2, 2))])
