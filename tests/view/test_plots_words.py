"""Words over the picture, and over steps, heads and layers: what is drawn is what was captured."""

import numpy as np
import pytest
import torch
from PIL import Image

import attnprobe as ap
from attnprobe import view
from attnprobe.aggregate import Cross
from attnprobe.errors import AttnProbeError
from tests.view.figures import check_legible

WORDS = ap.TokenMaps({"cat": (1,), "sofa": (2, 4)})


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))


def watch(unet, keep=WORDS, **options):
    """Words of three steps; which layers look at text, a capture of words knows by itself."""
    generator = torch.Generator().manual_seed(0)
    text = torch.randn(1, 5, 24, generator=generator)
    with ap.capture(unet, keep=keep, **options) as captured, torch.no_grad():
        for timestep in (900, 500, 100):
            unet(torch.randn(1, 4, 16, 16, generator=generator), timestep, text)
    return captured


def panels(plot):
    return [axis for axis in plot.axes if axis.images]


def shown(axis):
    return np.asarray(axis.images[-1].get_array())


def same(axis, maps):
    assert np.allclose(shown(axis), maps, atol=1e-6)


@pytest.mark.parametrize("over", ["mean", "each"])
def test_word_maps_of_a_capture_are_the_mean_of_layers_and_steps(unet, picture, over):
    captured = watch(unet, over_steps=over)
    truth = Cross()(watch(unet).words())
    plot = view.word_maps(captured, picture)
    assert [axis.get_title() for axis in panels(plot)] == ["cat", "sofa"]
    for axis, word in zip(panels(plot), truth.words, strict=True):
        same(axis, truth[word])


def test_a_capture_of_words_watches_the_layers_of_text(unet):
    kinds = {row["kind"] for row in watch(unet).layers}
    assert kinds == {"cross"}
    assert {row["kind"] for row in watch(unet, ap.PerHead(words=WORDS)).layers} == kinds
    inputs = {
        "sample": torch.zeros(1, 4, 16, 16),
        "timestep": 1,
        "encoder_hidden_states": torch.zeros(1, 5, 24),
    }
    assert {row["kind"] for row in ap.plan(unet, inputs, keep=WORDS).rows} == kinds


@pytest.mark.parametrize("word", [None, "sofa"])
def test_words_over_steps_with_their_mean_at_the_edge(unet, picture, word):
    captured = watch(unet, over_steps="each")
    plot = view.word_over_steps(captured, picture, word=word)
    words = [word] if word else ["cat", "sofa"]
    each = [Cross()(captured.words(step=step)) for step in range(3)]
    assert [axis.get_title() for axis in panels(plot)[:4]] == ["step 0", "step 1", "step 2", "mean"]
    for place, axis in enumerate(panels(plot)):
        row, column = divmod(place, 4)
        maps = [maps[words[row]] for maps in each]
        same(axis, torch.stack(maps).mean(0) if column == 3 else maps[column])
    assert [axis.get_ylabel() for axis in panels(plot)[::4]] == words
    check_legible(plot)


def test_steps_that_do_not_fit_are_left_out_but_of_the_film(unet, picture, tmp_path):
    plot = view.word_over_steps(watch(unet, over_steps="each"), picture, width=2.9)
    assert [axis.get_title() for axis in panels(plot)[:3]] == ["step 0", "step 2", "mean"]
    plot.save(tmp_path / "words.gif")
    with Image.open(tmp_path / "words.gif") as film:
        assert film.n_frames == 3
        assert film.width == 2 * 80  # a word beside the other
    alone = view.word_over_steps(watch(unet, over_steps="each"), word="cat")
    assert {frame.size for frame in alone.frames} == {(256, 256)}


def test_a_word_over_layers_with_their_mean_at_the_end(unet, picture):
    captured = watch(unet)
    plot = view.word_over_layers(captured, picture, word="sofa")
    layers = captured.words()
    for axis, maps in zip(panels(plot), [*layers, Cross()(layers)], strict=True):
        same(axis, maps["sofa"])
    titles = [axis.get_title() for axis in panels(plot)]
    assert titles[0] == "down 0.0\n16×16"
    assert titles[-1] == "mean\n16×16"
    check_legible(plot)


def test_a_word_over_heads_with_their_mean_at_the_edge(unet, picture):
    captured = watch(unet, ap.PerHead(words=WORDS))
    plot = view.word_over_heads(captured, picture, word="sofa")
    means = captured.words()
    for place, axis in enumerate(panels(plot)):
        row, column = divmod(place, 3)
        maps = means if column == 2 else captured.words(head=column)
        same(axis, maps[row]["sofa"])
    assert [axis.get_title() for axis in panels(plot)[:3]] == ["head 0", "head 1", "mean"]
    check_legible(plot)


def test_a_layer_with_fewer_heads_leaves_its_place_empty(tiny):
    with ap.capture(tiny.denoiser, keep=ap.PerHead(words=WORDS)) as captured:
        tiny.denoise(torch.zeros(1, 4, 16, 16), 300, "a red disc")
    plot = view.word_over_heads(captured, word="cat", width=4)
    heads = [row["heads"] for row in captured.layers]
    assert len(panels(plot)) == sum(heads) + len(heads)
    assert len(captured.words(head=4)) == sum(count > 4 for count in heads) > 0


def test_heads_of_words_are_columns_of_the_heads_whole_maps(unet, tmp_path):
    """And their mean is what `TokenMaps` keeps; saved and read back, too."""
    keep = ap.PerHead(heads=(1,), words=WORDS)
    some, whole, mean = (watch(unet, each) for each in (keep, ap.PerHead(), WORDS))
    every = watch(unet, ap.PerHead(words=WORDS))
    for name in some.records:
        maps = whole[name]
        truth = torch.stack([maps[..., 1], maps[..., 2] + maps[..., 4]], -1)
        torch.testing.assert_close(every[name], truth)
        torch.testing.assert_close(some[name], truth[:, 1:])
        torch.testing.assert_close(every[name].mean(1), mean[name])
    some.save(tmp_path / "heads.safetensors")
    read = ap.load_capture(tmp_path / "heads.safetensors")
    assert read.keep == keep
    for one, other in zip(read.words(head=1), some.words(), strict=True):
        assert torch.equal(one.maps, other.maps)


def test_what_is_not_known_is_told(unet):
    mean, each = watch(unet), watch(unet, over_steps="each")
    heads = watch(unet, ap.PerHead(words=WORDS))
    for draw, said in [
        (lambda: view.word_maps([1]), r"draws a capture of words.* Got list"),
        (lambda: view.word_maps(watch(unet, ap.HeadMean())), "needs a capture with TokenMaps"),
        (lambda: view.word_over_steps(mean), r"each step must have been kept"),
        (lambda: view.word_over_steps(each, word="cats"), "no map of the word 'cats'; did you mea"),
        (lambda: view.word_over_layers(mean), "say which by word=, of cat, sofa"),
        (lambda: view.word_over_layers(mean, word="cta"), "none of the words .* did you mean cat"),
        (lambda: view.word_over_layers(each, word="cat"), r"step must be one of 0, 1, 2. Got None"),
        (lambda: view.word_over_heads(mean, word="cat"), r"keep=ap.PerHead\(words=…\)"),
        (lambda: mean.words(head=1), "the mean over heads was kept, so there is no head 1"),
        (lambda: heads.words(head=7), "no layer that was captured has a head 7"),
        (lambda: heads.fields(), "no self- or joint-attention layer"),
        (lambda: ap.AttentionHooks(unet).patch(heads), "each head's maps"),
    ]:
        with pytest.raises(AttnProbeError, match=said):
            draw()
