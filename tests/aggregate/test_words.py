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
from attnprobe.distances import cosine_affinity
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


def by_their_program(attention, cross, entropy, times):
    """iSeg's loop written down: attention (N, N) of queries by keys, cross (N, K) float64."""
    cross = cross - cross.min(0)
    cross = cross / cross.sum(0)
    links = attention / attention.max(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        links = links + np.where(links == 0, 0, entropy * np.log10(np.e * links))
    links = links.clip(0)
    links = links / links.sum(1, keepdims=True)
    for _ in range(times):
        cross = links @ cross
        cross = cross - cross.min(0)
        cross = cross / cross.sum(0)
    return cross


@given(st.integers(0, 99), st.sampled_from([0.002, 0.015, 0.2]), st.integers(1, 10))
def test_iseg_is_its_program_s_loop(seed, entropy, times):
    attention, layers = field((6, 8), seed), [words((3, 4), seed), words((6, 8), seed + 1)]
    again = words((3, 4), seed + 2)
    found = SelfCross(power=times, entropy=entropy, renormalise=True)([attention, *layers, again])
    cross = Cross()([*layers, again]).maps.flatten(1).T.double().numpy()
    expected = by_their_program(attention.rows.double().numpy(), cross, entropy, times)
    np.testing.assert_allclose(found.maps.flatten(1).T.numpy(), expected, rtol=2e-3, atol=1e-6)


def test_sides_weigh_as_they_are_told_each_map_by_its_own_sum():
    coarse, other, fine, unused = words((4, 4)), words((4, 4), 1), words((8, 8), 2), words((2, 2))
    attention = field((8, 8), 3)
    layers = [attention, coarse, fine, unused, other]
    found = SelfCross(power=0, word_weights={4: 0.7, 8: 0.3})(layers)
    mean = (coarse.maps + other.maps) / 2
    mean, fine = (m / m.sum((1, 2), keepdim=True) for m in (mean, fine.maps))
    larger = F.interpolate(mean[None], size=(8, 8), mode="bilinear")[0]
    torch.testing.assert_close(found.maps, 0.7 * larger + 0.3 * fine)
    with pytest.raises(AttnProbeError, match="no layer of words has 16² tokens; there are 2×2, 4×"):
        SelfCross(word_weights={16: 1.0})(layers)


def test_a_place_that_loses_all_its_links_stays_where_it_is():
    """The first key takes all that two of three look at; the third looks at it too, but faintly."""
    rows = torch.tensor([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.4, 0.4, 0.2]])
    given = WordMaps(torch.tensor([[[1.0, 2.0, 4.0]], [[3.0, 3.0, 3.0]]]), ("a", "b"))
    found = SelfCross(entropy=5.0, renormalise=True)([AttentionField(rows, (1, 3)), given])
    assert torch.isfinite(found.maps).all()
    assert torch.equal(found["b"], torch.zeros(1, 3))


def test_shares_are_divided_by_place_and_then_levelled_by_word():
    layers = [words((4, 6), 0), words((4, 6), 1)]
    mean = (layers[0].maps + layers[1].maps).double().numpy() / 2
    shares = mean / mean.sum(0)
    low, high = shares.min((1, 2), keepdims=True), shares.max((1, 2), keepdims=True)
    found = Cross(shares=True)(layers)
    np.testing.assert_allclose(found.maps.numpy(), (shares - low) / (high - low), atol=1e-5)
    nothing = WordMaps(torch.zeros(3, 2, 2), WORDS)
    assert torch.equal(Cross(shares=True)([nothing]).maps, nothing.maps)
