"""Words' maps to named segments."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.aggregate import Cross
from attnprobe.errors import AttnProbeError
from attnprobe.fields import WordMaps
from attnprobe.group import Argmax, Threshold
from attnprobe.models import ModelSpec
from attnprobe.pipeline import Pipeline
from attnprobe.probe import Probe
from attnprobe.view import word_maps


def maps(*values) -> WordMaps:
    words = ("cat", "sofa", "wall")[: len(values)]
    return WordMaps(torch.tensor(values, dtype=torch.float32), words)


LOUD = maps([[9.0, 6.0], [2.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]])
"""Everywhere the first word is looked at more, but the second has its place."""


def test_each_place_takes_the_word_that_stands_out():
    found = Argmax()(LOUD)
    assert found.labels.tolist() == [[0, 0], [1, 1]]
    assert found.names == {0: "cat", 1: "sofa"}
    by_norm = LOUD.maps / LOUD.maps.flatten(1).norm(dim=1)[:, None, None]
    assert torch.equal(found.proposals, by_norm)
    assert Argmax(divide="max")(LOUD).labels.tolist() == [[0, 1], [1, 1]]
    assert Argmax(divide="none")(LOUD).labels.tolist() == [[0, 0], [0, 0]]


def test_places_that_no_word_reaches_are_background():
    quiet = maps([[9.0, 6.0], [3.0, 3.0]], [[1.0, 1.0], [2.0, 2.0]])
    found = Argmax(background=0.8)(quiet)
    assert found.labels.tolist() == [[0, 2], [1, 1]]
    assert found.names == {0: "cat", 1: "sofa", 2: "background"}


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 0.5, 1.0]))
def test_proposals_agree_with_the_labels(seed, background):
    given_maps = WordMaps(
        torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(seed)), tuple("abc")
    )
    found = Argmax(background=background)(given_maps)
    assert np.array_equal(found.resized((5, 4)).labels, found.labels)


def test_a_word_that_nobody_looks_at_gets_no_place():
    found = Argmax(background=0.5)(maps([[0.0, 0.0]], [[0.1, 0.2]]))
    assert found.labels.tolist() == [[1, 1]]
    assert Argmax(background=0.5)(maps([[0.0, 0.0]])).labels.tolist() == [[1, 1]]


def test_word_maps_are_checked():
    with pytest.raises(AttnProbeError, match=r"maps must be \(words, H, W\), for 2 words"):
        WordMaps(torch.ones(3, 2, 2), ("a", "b"))
    with pytest.raises(AttnProbeError, match="words must differ"):
        WordMaps(torch.ones(2, 2, 2), ("a", "a"))
    for wrong in (torch.inf, -0.1):
        with pytest.raises(AttnProbeError, match="finite and 0 or more"):
            WordMaps(torch.full((1, 2, 2), wrong), ("a",))
    with pytest.raises(AttnProbeError, match="no map of the word 'sofe'; did you mean sofa"):
        LOUD["sofe"]


def test_maps_that_are_no_numbers_are_refused_by_every_stage():
    """By the layer they are of; they can be looked at, and nothing is made of them."""
    bad = WordMaps(torch.tensor([[[0.5, torch.nan]], [[0.1, 0.2]]]), ("a", "b"), "up.attn2")
    good = WordMaps(torch.ones(2, 1, 2), ("a", "b"), "down.attn2")
    assert bad["a"].isnan().any()
    stages = [
        lambda: Argmax()(bad),
        lambda: Threshold(word="b")(bad),
        lambda: Cross()([good, bad]),
        lambda: word_maps(bad),
    ]
    for stage in stages:
        with pytest.raises(AttnProbeError, match=r"the maps of up.attn2 have NaN"):
            stage()


def test_no_aggregator_is_given_maps_that_are_no_numbers():
    """Not even somebody's own that doesn't look."""

    class First:
        needs = frozenset({"words"})

        def __call__(self, fields) -> WordMaps:
            return fields[0]

    model = ModelSpec(preset="tiny", device="cpu").load()
    name = "mid_block.attentions.0.transformer_blocks.0.attn2"
    with torch.no_grad():
        model.denoiser.get_submodule(name).to_q.weight[0, 0] = torch.nan
    pipeline = Pipeline(model, Probe(size=64, prompt="a red disc"), First(), Argmax())
    with pytest.raises(AttnProbeError, match=rf"the maps of {name} have NaN"):
        pipeline.segment(np.zeros((64, 64, 3), np.uint8))
