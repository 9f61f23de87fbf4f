"""What a probe captures for aggregators that need words or features, and noise drawn often."""

import numpy as np
import pytest
import torch
from PIL import Image

from attnprobe import AttnProbeError, Layers, Pipeline, Probe
from attnprobe.aggregate import Cross, Features, Multiscale, SelfCross
from attnprobe.cache import FieldCache
from attnprobe.data.base import Drawing
from attnprobe.data.scenes import make_scene
from attnprobe.fields import WordMaps
from attnprobe.group import Argmax, DiffSeg, NCut, Threshold
from attnprobe.hooks import TokenMaps, capture
from attnprobe.models.fit import to_pixels
from attnprobe.refine import Upscale

PROMPT = "a red striped star on a blue checked ground"


def image() -> Image.Image:
    return Image.fromarray(make_scene("test", 0).image)


def pipeline(tiny, probe, aggregate, group=None, **changes) -> Pipeline:
    return Pipeline(tiny, probe, aggregate, group or Argmax(), **changes)


def test_word_maps_are_those_that_a_capture_by_hand_has(tiny):
    probe = Probe(timesteps=(100,), prompt=PROMPT, words=("star", "ground"))
    found = pipeline(tiny, probe, Cross()).fields(image())
    keep = TokenMaps.of(tiny.pipe.tokenizer, PROMPT, ["star", "ground"])
    latents = tiny.encode(to_pixels(image(), probe.fitted(tiny, image()), "resize"))
    with capture(tiny.denoiser, Layers(kind="cross"), keep) as captured:
        tiny.denoise(latents, 100, PROMPT)
    assert len(found) == 10
    for layer, record in zip(found, captured.records, strict=True):
        assert layer.origin == record
        assert torch.equal(layer["star"].flatten(), captured[record][0, :, 0])


def test_all_words_of_the_prompt_by_default_each_once(tiny):
    found = pipeline(tiny, Probe(prompt="a star, a star's disc"), Cross()).field(image())
    assert found.words == ("a", "star", "star's", "disc")


def test_maps_and_words_come_of_one_pass(tiny):
    passes = []
    handle = tiny.denoiser.register_forward_hook(lambda module, given, out: passes.append(1))
    made = pipeline(tiny, Probe(prompt=PROMPT), SelfCross(power=2), Threshold(word="star"))
    segmentation = made.segment(image())
    handle.remove()
    assert passes == [1]
    assert segmentation.names == {0: "background", 1: "star"}
    assert segmentation.labels.shape == (128, 128)


def test_drawings_take_the_words_of_their_own_prompt(tiny):
    probe = Probe(words=("star", "disc", "ground"))
    made = pipeline(tiny, probe, Cross())
    attention = made.attention(Drawing(PROMPT, steps=2, guidance=3.0, seed=0))
    assert attention.picture.size == (128, 128)
    assert attention.field.words == ("star", "ground")
    keep = TokenMaps.of(tiny.pipe.tokenizer, PROMPT, ["star", "ground"])
    with capture(tiny.denoiser, Layers(kind="cross"), keep) as captured:
        tiny.draw(PROMPT, 2, 3.0, 0)
    branch = captured.records.branches.index("cond")
    assert torch.equal(attention.field.maps, Cross()(captured.words(branch)).maps)
    with pytest.raises(AttnProbeError, match="none of star, disc, ground is in the prompt 'a cat'"):
        made.attention(Drawing("a cat", steps=1, guidance=1.0, seed=0))


def test_features_are_what_the_layer_hands_on(tiny):
    """The oracle is a forward hook on the layer's own output projection."""
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
    probe = Probe(timesteps=(50,), layers=Layers(names=name))
    seen = []
    projection = tiny.denoiser.get_submodule(name).to_out[0]
    handle = projection.register_forward_hook(lambda module, given, out: seen.append(out))
    made = pipeline(tiny, probe, Features(), NCut(affinity="features"), refine=(Upscale(),))
    try:
        (field,) = made.fields(image())
    finally:
        handle.remove()
    assert len(seen) == 1  # a hook of the user's own is not called for us
    assert torch.equal(field.features.flatten(0, 1), seen[0][0])
    assert made.segment(image()).labels.shape == (128, 128)


def test_an_empty_prompt_or_a_word_it_does_not_have_is_refused(tiny):
    with pytest.raises(AttnProbeError, match=r"probe.prompt is empty, but the aggregator needs"):
        pipeline(tiny, Probe(), Cross()).field(image())
    with pytest.raises(AttnProbeError, match="the prompt has no word 'sofa'"):
        pipeline(tiny, Probe(prompt=PROMPT, words=("sofa",)), Cross()).field(image())


def test_draws_of_noise_are_averaged(tiny):
    noisy = {"timesteps": (200,), "noise": True}
    made = [
        pipeline(tiny, Probe(**noisy), Multiscale(), DiffSeg(), seed=seed).fields(image())
        for seed in (4, 5, 6)
    ]
    mean = pipeline(tiny, Probe(**noisy, draws=3), Multiscale(), DiffSeg(), seed=4).fields(image())
    for a, b, c, expected in zip(*made, mean, strict=True):
        torch.testing.assert_close((a.rows + b.rows + c.rows) / 3, expected.rows)
    with pytest.raises(AttnProbeError, match=r"Probe.draws: without noise all passes are equal"):
        Probe(draws=3)


@pytest.mark.parametrize(
    ("aggregate", "group"), [(Cross(), Argmax()), (Features(), NCut(affinity="features"))]
)
def test_fields_of_every_kind_are_cached_bit_by_bit(tiny, tmp_path, aggregate, group):
    cache = FieldCache(tmp_path)
    layers = Layers(names="up_blocks.1.*attn1")
    made = pipeline(tiny, Probe(prompt=PROMPT, layers=layers), aggregate, group, cache=cache)
    first, second = made.field(image()), made.field(image())
    assert len(cache.entries()) == 1
    if isinstance(first, WordMaps):
        assert torch.equal(first.maps, second.maps)
        assert first.words == second.words
    else:
        assert torch.equal(first.rows, second.rows)
        assert torch.equal(first.features, second.features)
    assert np.array_equal(made.segment(image()).labels, made.segment(image()).labels)


@pytest.mark.parametrize(("words", "louder"), [(("disc",), ["disc"]), ((), ["a", "red", "disc"])])
def test_emphasis_scales_the_embeddings_of_words_and_nothing_else(tiny, words, louder):
    seen = []
    handle = tiny.denoiser.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["encoder_hidden_states"]), with_kwargs=True
    )
    image = Image.fromarray(np.full((64, 64, 3), 90, np.uint8))
    for emphasis in (1.0, 1.6):
        Probe(size=64, prompt="a red disc", words=words, emphasis=emphasis)(tiny, image)
    handle.remove()
    plain, scaled = seen
    places = tiny.places("a red disc", tuple(louder))
    expected = plain.clone()
    expected[:, [place for each in places.values() for place in each]] *= 1.6
    assert torch.equal(scaled, expected)
    assert not torch.equal(scaled, plain)


def test_emphasis_is_refused_where_nothing_would_be_scaled(tiny):
    drawing = Drawing("a red disc", 2, 1.0, 0)
    with pytest.raises(AttnProbeError, match=r"probe.emphasis: .* taken as it is; .* Got 1.6 inst"):
        Probe(emphasis=1.6).draw(tiny, drawing)
    image = Image.new("RGB", (64, 64))
    with pytest.raises(AttnProbeError, match=r"probe.emphasis: .* probe.prompt is empty; .* 1.6"):
        Probe(size=64, emphasis=1.6)(tiny, image)
