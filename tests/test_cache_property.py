"""Whatever is asked, in whatever order: a cache answers what would be computed without it."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from attnprobe import AttnProbeError, Probe
from attnprobe.aggregate import (
    Cross,
    Features,
    Flow,
    Markov,
    Max,
    Mean,
    Multiscale,
    SelfCross,
    Single,
)
from attnprobe.cache import FieldCache
from attnprobe.field_key import field_key
from attnprobe.fields import WordMaps
from attnprobe.hooks import Layers
from attnprobe.identity import Unkeyable, identity
from tests.damage import examples

WORDS = ("red", "star", "ground")


def conditions():
    """Conditions in Python that share their code and differ in what they close over."""
    below = st.integers(0, 25).map(lambda n: lambda layer: layer.index < n)
    named = st.sampled_from(["down", "up", "0", "attn"]).map(
        lambda t: lambda layer: t in layer.name
    )
    return st.none() | below | named


def selections(kind):
    return st.builds(
        Layers,
        kind=st.just(kind),
        names=st.sampled_from([(), "up_blocks.*", ("down*", "up*"), "re:attentions.[01]"]),
        block=st.sampled_from([None, "down", "mid", "up"]),
        grid=st.sampled_from([None, None, (4, 4), (8, 8)]),
        index=st.just(()) | st.integers(-3, 12) | st.tuples(st.integers(0, 9), st.integers(-9, -1)),
        where=conditions(),
    )


@st.composite
def probes(draw):
    noise = draw(st.booleans())
    return Probe(
        size=draw(st.sampled_from([32, 48])),
        fit=draw(st.sampled_from(["resize", "crop"])),
        timesteps=draw(st.sampled_from([(300,), (10,), (10, 300)])),
        noise=noise,
        draws=draw(st.integers(1, 2)) if noise else 1,
        prompt=draw(st.sampled_from(["", "a red star", "a red star on a ground"])),
        layers=draw(selections("self")),
        words=draw(st.sampled_from([(), ("red",), ("star", "red"), WORDS])),
        word_layers=draw(selections("cross")),
    )


def aggregators():
    return st.one_of(
        st.builds(Multiscale, weights=st.sampled_from(["released", "paper"])),
        st.builds(Mean),
        st.builds(Max),
        st.builds(Single),
        st.builds(Flow),
        st.builds(Markov),
        st.builds(Cross),
        st.builds(SelfCross),
        st.builds(Features),
    )


def pictures():
    def picture(seed):
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    return st.integers(0, 1).map(picture)


questions = st.tuples(probes(), aggregators(), pictures(), st.integers(0, 1))


def computed(model, probe, aggregate, picture, seed):
    needs = getattr(aggregate, "needs", ("maps",))
    return aggregate(probe(model, picture, seed, needs))


def content(field):
    if isinstance(field, WordMaps):
        return field.words, field.origin, field.maps
    return field.grid, field.origin, field.rows, field.features


def assert_same(one, other):
    assert type(one) is type(other)
    for a, b in zip(content(one), content(other), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return FieldCache(tmp_path_factory.mktemp("shared"))


@settings(max_examples=examples(30), deadline=None, suppress_health_check=list(HealthCheck))
@given(question=questions)
def test_a_cached_field_is_the_one_that_is_computed(tiny, shared, question):
    try:
        own = computed(tiny, *question)
    except AttnProbeError:
        assume(False)
    key = field_key(tiny, *question)
    probe = question[0]
    told = probe.layers.where is None and probe.word_layers.where is None
    assert (key is not None) == told
    if told:
        for _ in range(2):  # as an earlier question left it, and as this one does
            assert_same(shared.field(key, lambda: own), own)


@settings(max_examples=examples(50), deadline=None)
@given(one=st.tuples(probes(), aggregators()), other=st.tuples(probes(), aggregators()))
def test_only_equal_settings_have_equal_identities(one, other):
    try:
        equal = identity(one) == identity(other)
    except Unkeyable:
        assert any(layers.where for p, _ in (one, other) for layers in (p.layers, p.word_layers))
    else:
        assert equal == (one == other)
        assert identity(pickle.loads(pickle.dumps(one))) == identity(one)
