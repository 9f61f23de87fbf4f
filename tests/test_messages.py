"""Sentences about what can't be: what was given, what is allowed, and never a Python error."""

import numpy as np
import pytest
import torch
from PIL import Image

import attnprobe as ap
from attnprobe import AttentionField, AttnProbeError, ModelSpec, Segmentation, TokenMaps
from attnprobe.fields import WordMaps
from attnprobe.hooks import AttentionHooks
from attnprobe.view import word_maps

PROMPT = "a red star"
field = AttentionField(np.eye(4), (2, 2))
segments = Segmentation(np.zeros((2, 2), int))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: AttentionField(None, (2, 2)), "rows must be numbers, .*Got NoneType"),
        (lambda: AttentionField("rows", (2, 2)), "rows must be numbers, .*Got str"),
        (lambda: AttentionField(np.eye(4), 4), r"grid must be \(height, width\).*Got 4"),
        (lambda: AttentionField(np.eye(4), (2.5, 2)), r"grid must be .*Got \(2.5, 2\)"),
        (lambda: field.map_at(0.5, 1), r"y must be 0 to 1 .*Got \(0.5, 1\)"),
        (lambda: field.resized(4), "a grid must be .*Got 4"),
        (lambda: field.resized((0, 4)), r"at least 1. Got \(0, 4\)"),
        (lambda: WordMaps(None, ("cat",)), "maps must be numbers"),
        (lambda: segments.resized(4), "a size must be .*Got 4"),
        (lambda: segments.resized((4.5, 4)), r"a size must be .*Got \(4.5, 4\)"),
        (lambda: Segmentation(np.zeros((2, 2), int), names=("a", "b")), "by label's number, such"),
        (lambda: segments.overlay(np.zeros((2, 2, 3), np.uint8)), "must be a PIL image. Got nd"),
        (lambda: word_maps([np.zeros((2, 2))]), "word_maps draws a capture of words, .*Got list"),
        (lambda: ModelSpec(preset="org/name"), "is a repo: org/name"),
        (lambda: ModelSpec(preset="tiny", device="meta").load(), "holds shapes and no numbers"),
        (lambda: ModelSpec(repo="sd15").load(), "that is a preset's name; give it as preset"),
        (lambda: ModelSpec(repo="https://huggingface.co/a/b").load(), "did you mean a/b"),
        (lambda: ModelSpec(repo="model.safetensors").load(), "there is no such folder"),
    ],
)
def test_it_is_a_sentence(make, said):
    with pytest.raises(AttnProbeError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_file_is_no_missing_folder(tmp_path):
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(AttnProbeError, match=r"is a file, .*from_single_file\(FILE\)"):
        ModelSpec(repo=str(file)).load()


def test_words_of_a_tokenizer(tiny):
    tokens, pipe = tiny.pipe.tokenizer, tiny.pipe
    for given, said in [
        ((tokens, PROMPT, [3]), r"a word or a list of words. Got \[3\]"),
        ((tokens, PROMPT, 3), "a word or a list of words. Got 3"),
        ((tokens, PROMPT, []), r"a word or a list of words. Got \[\]"),
        ((tokens, [PROMPT], ["star"]), "one prompt, a text. Got "),
        ((tokens, "", ["star"]), "the prompt is empty, so it has no word 'star'"),
        ((pipe.unet, PROMPT, "star"), "such as pipe.tokenizer. Got UNet2DConditionModel"),
        ((None, PROMPT, ["star"]), "such as pipe.tokenizer. Got NoneType"),
    ]:
        with pytest.raises(AttnProbeError, match=said):
            TokenMaps.of(*given)
    found = TokenMaps.of(tokens, PROMPT, ("star",))
    assert found.tokens.keys() == {"star"}
    assert all(TokenMaps.of(each, PROMPT, "star") == found for each in (tokens, pipe, tiny))


@pytest.mark.parametrize("heads", [0, "ab", [0.5], []])
def test_heads_of_an_edit(unet, heads):
    with pytest.raises(AttnProbeError, match="numbers of heads, or None for all"):
        AttentionHooks(unet).edit(lambda probs, call: probs, heads=heads)


def test_a_layer_by_its_number(unet):
    with ap.capture(unet, ap.Layers(block="mid")) as capture:
        unet(torch.zeros(1, 4, 16, 16), 300, torch.zeros(1, 7, 24))
    with pytest.raises(AttnProbeError, match="nothing was kept of 0; allowed: mid_block"):
        capture[0]


def test_proposals_may_be_arrays():
    maps = np.zeros((2, 2, 2))
    maps[0, :, 0] = maps[1, :, 1] = 1
    made = Segmentation(np.array([[0, 1], [0, 1]]), proposals=maps)
    assert made.resized((4, 4)).labels[0].tolist() == [0, 0, 1, 1]


def test_a_picture_needs_a_prompt_for_its_words(tiny):
    from attnprobe.aggregate import Cross
    from attnprobe.group import Argmax

    probe = ap.Probe(words=("star",))
    pipeline = ap.Pipeline(tiny, probe, Cross(), Argmax())
    with pytest.raises(AttnProbeError, match=r"probe\.prompt is empty, but the aggregator needs"):
        pipeline.segment(Image.new("RGB", (32, 32)))
    with pytest.raises(AttnProbeError, match=r"daam.yaml:\d+:\d+: aggregate: probe\.prompt is emp"):
        ap.load_recipe("daam", ["images=[{use: photos}]"])
    given = ["images=[{use: photos}]", "probe.prompt=a star"]
    assert ap.load_recipe("daam", given).probe.prompt == "a star"
