"""Names from words' maps: against a loop over pixels, and by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe import Segmentation, WordMaps
from attnprobe.label.naming import name_segments, normalised, renamed

WORDS = ("cat", "dog", "sofa")


def maps_of(seed, words=3, grid=(5, 7)):
    drawn = torch.rand(words, *grid, generator=torch.Generator().manual_seed(seed))
    return WordMaps(drawn**4, WORDS[:words])


def by_hand(labels, maps, normalise, rule, least):
    """The name of each segment, pixel by pixel in float64."""
    values = maps.maps.double()
    if normalise == "length":
        values = torch.stack([each / each.pow(2).sum().sqrt() for each in values])
    else:
        values = values / values.sum(0)
        values = torch.stack([(each - each.min()) / (each.max() - each.min()) for each in values])
    up = F.interpolate(values[None], size=labels.shape, mode="bilinear", align_corners=False)[0]
    names = {}
    for number in np.unique(labels):
        inside = torch.from_numpy(labels == number)
        means = [each[inside].mean().item() for each in up]
        votes = [(up.argmax(0)[inside] == word).sum().item() for word in range(len(up))]
        best = int(np.argmax(means if rule == "mean" else votes))
        if means[best] >= least * up[best].mean().item():
            names[int(number)] = maps.words[best]
    return names


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rule=st.sampled_from(["mean", "majority"]),
    normalise=st.sampled_from(["length", "shares"]),
    least=st.sampled_from([0, 1.0, 1.1]),
    size=st.sampled_from([(5, 7), (20, 28), (9, 4)]),
)
def test_the_names_are_those_worked_out_by_hand(seed, rule, normalise, least, size):
    labels = np.random.default_rng(seed).integers(0, 6, size) * 3
    found = name_segments(Segmentation(labels), maps_of(seed), normalise, rule, least)
    expected = by_hand(labels, maps_of(seed), normalise, rule, least)
    for number in np.unique(labels):
        (after,) = np.unique(found.labels[labels == number])
        assert found.names.get(int(after)) == expected.get(int(number))
    assert len(set(found.names.values())) == len(found.names)


def test_what_stands_out_nowhere_has_no_name_and_stays_as_it_was():
    labels = np.array([[7, 7, 2, 2]])
    even = WordMaps(torch.ones(2, 1, 4), ("cat", "dog"))
    assert name_segments(Segmentation(labels), even, least=1.5).names == {}
    assert np.array_equal(name_segments(Segmentation(labels), even, least=1.5).labels, labels)
    assert name_segments(Segmentation(labels), even, least=0).names == {2: "cat"}


def test_segments_of_one_name_are_one_under_the_lowest_number():
    labels = np.array([[9, 4, 4, 1]])
    found = renamed(Segmentation(labels), np.array([1, 4, 9]), ["sofa", "cat", "sofa"])
    assert found.names == {1: "sofa", 4: "cat"}
    assert found.labels.tolist() == [[1, 4, 4, 1]]
    assert found.proposals is None


def test_a_word_that_is_never_looked_at_is_no_name():
    maps = WordMaps(torch.stack([torch.zeros(2, 2), torch.eye(2)]), ("cat", "dog"))
    assert name_segments(Segmentation(np.eye(2, dtype=int)), maps).names == {1: "dog"}


@pytest.mark.parametrize("how", ["length", "shares"])
def test_a_word_s_scale_is_of_no_matter(how):
    maps = maps_of(3).maps
    once, twice = normalised(maps, how), normalised(8 * maps, how)
    torch.testing.assert_close(once, twice, rtol=1e-6, atol=1e-7)
