"""Words' maps: their tokens in a prompt, and their columns in cross- and joint attention."""

import copy

import pytest
import torch
from diffusers.loaders import TextualInversionLoaderMixin
from transformers import CLIPTokenizer

import attnprobe as ap
from attnprobe import AttnProbeError
from attnprobe.hooks import AttentionHooks, Keep, TokenMaps, Tokens
from attnprobe.hooks.recorders import token_places
from attnprobe.label import CrossAttention, PromptLabels
from attnprobe.models import ModelSpec
from tests.conftest import small_unet
from tests.hooks.calls import eager, random_call
from tests.hooks.zoo import CASES

CLOSE = {"rtol": 0, "atol": 2e-6, "check_dtype": False}


@pytest.fixture(scope="module")
def clip() -> CLIPTokenizer:
    """A tokenizer of CLIP's kind, which cuts most words in pieces."""
    letters = "abcdefghijklmnopqrstuvwxyz,'"
    merges = ["a t</w>", "c at</w>", "s o", "f a</w>", "so fa</w>", "c a", "t o", "to m", "d o"]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = [tuple(merge.split()) for merge in merges]
    pieces += ["".join(merge) for merge in merges]
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *pieces]
    return CLIPTokenizer(
        {piece: i for i, piece in enumerate(vocabulary)}, merges, model_max_length=24
    )


def spelled(tokenizer, prompt: str, word: str) -> list[str]:
    ids = tokenizer(prompt).input_ids
    return [tokenizer.convert_ids_to_tokens(ids[i]) for i in token_places(tokenizer, prompt, word)]


@pytest.mark.parametrize(
    ("prompt", "word", "pieces"),
    [
        ("a cat on a sofa", "cat", ["cat</w>"]),
        ("a cat on a sofa", "sofa", ["sofa</w>"]),
        ("a dog on a sofa", "dog", ["do", "g</w>"]),
        ("a dog, on a sofa", "dog", ["do", "g</w>"]),
        ("a tomcat and a cat", "tomcat", ["tom", "cat</w>"]),
        ("a tomcat and a cat", "cat", ["cat</w>"]),
        ("a Cat", "cat", ["cat</w>"]),
        ("the cat's dog", "cat", ["cat</w>"]),
        ("a dog cat sofa", "dog cat", ["do", "g</w>", "cat</w>"]),
    ],
)
def test_places_of_words_and_their_pieces(clip, prompt, word, pieces):
    assert spelled(clip, prompt, word) == pieces


def test_a_word_is_not_looked_for_inside_others(clip):
    assert token_places(clip, "a tomcat and a cat", "cat") == (8,)
    assert token_places(clip, "a cat and a cat", "cat") == (2,)
    with pytest.raises(AttnProbeError, match=r"the prompt has no word 'cat'; did you mean tomcat"):
        token_places(clip, "a tomcat", "cat")


def test_a_word_that_is_not_there(clip):
    with pytest.raises(AttnProbeError, match="no word 'sofas'; did you mean sofa"):
        TokenMaps.of(clip, "a cat on a sofa", ["cat", "sofas"])
    with pytest.raises(AttnProbeError, match="no word ''"):
        token_places(clip, "a cat", "")


def test_a_word_that_is_cut_off(clip):
    prompt = "x " * 20 + "cat dog"  # start, twenty, cat, do, then the end instead of g
    assert token_places(clip, prompt, "cat") == (21,)
    for word in ("dog", "cat dog"):
        with pytest.raises(AttnProbeError, match=r"'.*dog' is cut off: .* takes 24 tokens"):
            token_places(clip, prompt, word)


def test_scripts_without_spaces(clip):
    """CLIP cuts each of these signs in three bytes: the last sign's lie before the end."""
    assert token_places(clip, "一只猫", "猫") == (7, 8, 9)
    assert token_places(clip, "猫 一只", "猫") == (1, 2, 3)


def test_a_tokenizer_that_knows_no_places():
    with pytest.raises(AttnProbeError, match="only fast tokenizers do"):
        token_places(object(), "a cat", "cat")


VECTORS = ("<toy>", "<toy>_1", "<toy>_2", "<one>")


@pytest.fixture(scope="module")
def inverted(clip) -> CLIPTokenizer:
    """With a textual inversion of three vectors and one of one, as diffusers adds them."""
    tokenizer = copy.deepcopy(clip)
    tokenizer.add_tokens([*VECTORS, "<to>", "<to>_1"])
    return tokenizer


@pytest.mark.parametrize(
    ("prompt", "word", "tokens"),
    [
        ("a <toy> on a sofa", "sofa", ["sofa</w>"]),
        ("a sofa and a <toy>", "sofa", ["sofa</w>"]),
        ("a <toy> on a sofa", "<toy>", ["<toy>", "<toy>_1", "<toy>_2"]),
        ("a <one> on a sofa", "<one>", ["<one>"]),
        ("a <toy> cat", "<toy> cat", ["<toy>", "<toy>_1", "<toy>_2", "cat</w>"]),
        ("a <toy> by a <toy> cat", "cat", ["cat</w>"]),
        ("a <toy>_1 cat", "cat", ["cat</w>"]),
        ("a <to> and a cat", "cat", ["cat</w>"]),
    ],
)
def test_places_after_a_textual_inversion(inverted, prompt, word, tokens):
    """Counted in what diffusers' own conversion makes of the prompt."""
    loader = TextualInversionLoaderMixin()
    ids = inverted(loader.maybe_convert_prompt(prompt, inverted)).input_ids
    places = token_places(inverted, prompt, word)
    assert [inverted.convert_ids_to_tokens(ids[place]) for place in places] == tokens


def test_a_textual_inversion_that_is_cut_off_or_unclear(inverted):
    long = "x " * 20 + "<toy>"
    with pytest.raises(AttnProbeError, match="'<toy>' is cut off"):
        token_places(inverted, long, "<toy>")
    other = copy.deepcopy(inverted)
    other.add_tokens(["<toy>_1_1"])  # ``<toy>_1`` is a token of several vectors, too
    with pytest.raises(AttnProbeError, match="one is part of another"):
        token_places(other, "a <toy> and a <toy>_1 cat", "cat")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"padding_side": "left"}, "puts padding before the prompt"),
        ({"chat_template": "{{ messages }}"}, "instructions around the prompt"),
    ],
)
def test_tokenizers_whose_places_are_not_those_of_the_text(clip, change, reason):
    tokenizer = copy.deepcopy(clip)
    for name, value in change.items():
        setattr(tokenizer, name, value)
    with pytest.raises(AttnProbeError, match=rf"{reason}.*give their places: TokenMaps"):
        TokenMaps.of(tokenizer, "a cat", ["cat"])


def test_places_are_those_of_what_the_text_encoder_was_given():
    """A pipeline with an inversion of three vectors, and what its text encoder is handed."""
    pipe = ModelSpec(preset="tiny", device="cpu").load().pipe
    width = pipe.text_encoder.config.hidden_size
    pipe.load_textual_inversion({"<toy>": torch.randn(3, width)}, token="<toy>")
    given = []
    pipe.text_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: given.append(args[0] if args else kwargs["input_ids"]),
        with_kwargs=True,
    )
    prompt = "a <toy> on a red disc"
    words = TokenMaps.of(pipe.tokenizer, prompt, ["disc", "<toy>"])
    pipe(prompt, num_inference_steps=1, guidance_scale=1.0, output_type="latent")
    spelled = pipe.tokenizer.convert_ids_to_tokens(given[0][0].tolist())
    assert [spelled[place] for place in words.tokens["disc"]] == ["disc</w>"]
    assert [spelled[place] for place in words.tokens["<toy>"]] == [*VECTORS[:3]]


def test_the_embedded_models_words(tiny):
    """Words of one and of several tokens; their maps are the columns of those tokens, summed."""
    prompt = "a red circle and a cat"
    tokenizer = tiny.pipe.tokenizer
    words = TokenMaps.of(tokenizer, prompt, ["red", "cat"])
    assert len(words.tokens["red"]) == 1
    assert len(words.tokens["cat"]) > 1
    latent = torch.randn(1, tiny.denoiser.config.in_channels, 16, 16)
    layers = ap.Layers(kind="cross")
    with ap.capture(tiny.denoiser, layers, words) as maps:
        tiny.denoise(latent, 300, prompt)
    with ap.capture(tiny.denoiser, layers) as whole:
        tiny.denoise(latent, 300, prompt)
    assert maps.layers
    for row in maps.layers:
        for number, places in enumerate(words.tokens.values()):
            columns = whole[row["name"]][..., list(places)].sum(-1)
            torch.testing.assert_close(maps[row["name"]][..., number], columns, **CLOSE)


JOINT = {
    "FluxTransformer2DModel": "transformer_blocks.0.attn",
    "SD3Transformer2DModel": "transformer_blocks.0.attn",
    "Lumina2Transformer2DModel": "layers.1.attn",
    "ZImageTransformer2DModel": "layers.0.attention",
    "AuraFlowTransformer2DModel": "single_transformer_blocks.0.attn",
    "UNet2DConditionModel SDXL": None,
    "PixArtTransformer2DModel": None,
}


@pytest.mark.parametrize("name", JOINT)
def test_image_queries_and_text_keys(name):
    """Text first, image first, and elsewhere in each item, as the zoo says; eager in float64."""
    case = next(case for case in CASES if case.name == name)
    model = case.build()
    wanted = ("joint",) if JOINT[name] else ("cross",)
    layer = next(
        layer
        for layer, expected in case.layers.items()
        if expected.kind in wanted and JOINT[name] in (None, layer)
    )
    words = TokenMaps({"cat": (2,), "sofa": (0, 3)})
    seen = []
    hooks = AttentionHooks(model)
    hooks.add(lambda call: seen.append(eager(call).mean(1)), ap.Layers(names=(layer,)))
    with torch.no_grad(), hooks, ap.capture(model, ap.Layers(names=(layer,)), words) as capture:
        model(**case.inputs())
    truth = case.layers[layer].calls[0]
    items = truth if isinstance(truth, tuple) else (truth, truth)
    for item, told in enumerate(items):
        queries, keys = told.query, told.query if told.key is None else told.key
        image = places_of("image", queries)
        text = places_of("text", keys)
        maps = seen[0][item][image]
        expected = torch.stack([maps[:, text[2]], maps[:, text[0]] + maps[:, text[3]]], 1)
        torch.testing.assert_close(capture[layer][item], expected, **CLOSE)


def places_of(role: str, runs) -> list[int]:
    places, start = [], 0
    for name, count in runs:
        places += range(start, start + count) if name == role else ()
        start += count
    return places


def test_a_place_beyond_the_text_and_keys_without_text():
    image = Tokens.runs(("image", 4), grid=(1, 2, 2))
    words = TokenMaps({"cat": (1,), "sofa": (4, 5)})
    text = Tokens.runs(("text", 5))
    with pytest.raises(
        AttnProbeError, match=r"'sofa' is at place 5, but block.attn has 5 text tokens"
    ):
        words.record(random_call((1, 2, 4, 5), queries=image, keys=text))
    with pytest.raises(AttnProbeError, match=r"keys of block.attn hold no text; choose layers of"):
        words.record(random_call((1, 2, 4, 4), queries=image, keys=image))
    picture = Tokens.runs(("reference", 5))
    assert words.record(random_call((1, 2, 4, 5), queries=image, keys=picture)) is None
    other = Tokens.runs(("other", 5))
    assert words.record(random_call((1, 2, 4, 5), queries=image, keys=other)) is None
    assert words.record(random_call((1, 2, 4, 5), queries=image)) is None
    with pytest.raises(AttnProbeError, match="which tokens are the image's"):
        TokenMaps({"cat": (1,)}).record(random_call((1, 2, 4, 5), keys=text))


def test_an_image_adapters_call_has_no_words():
    case = next(case for case in CASES if case.name == "WanTransformer3DModel image")
    layers = ap.Layers(kind="cross")
    model = case.build()
    with torch.no_grad(), ap.capture(model, layers, TokenMaps({"cat": (1,)})) as words:
        model(**case.inputs())
    with torch.no_grad(), ap.capture(model, layers, Keep("probs")) as both:
        model(**case.inputs())
    assert {row["name"] for row in words.layers} < {row["name"] for row in both.layers}
    assert len(both.layers) == 2 * len(words.layers)


def test_words_of_nothing():
    for tokens in ({}, {"cat": ()}, {"cat": (-1,)}):
        with pytest.raises(AttnProbeError, match=r"TokenMaps.tokens"):
            TokenMaps(tokens)


def test_batch_items_share_places():
    model = small_unet()
    with torch.no_grad(), ap.capture(model, ap.Layers(kind="cross"), TokenMaps({"a": (6,)})) as c:
        model(torch.randn(3, 4, 16, 24), 300, torch.randn(3, 7, 24))
    assert c[c.layers[0]["name"]].shape == (3, 16 * 24, 1)


def test_one_word_is_as_good_as_a_list_of_it(clip):
    one, several = (TokenMaps.of(clip, "a cat", words) for words in ("cat", ["cat"]))
    assert one == several
    assert ap.Probe(words="cat") == ap.Probe(words=("cat",))
    assert ap.WordMaps(torch.ones(1, 2, 2), "cat").words == ("cat",)
    assert CrossAttention(words="cat") == CrossAttention(words=["cat"])
    assert PromptLabels(names="cat") == PromptLabels(names=("cat",))
    said = ["label.use=cross-attention", "label.words=cat", "probe.prompt=a cat"]
    recipe = ap.load_recipe("diffseg", said)
    assert recipe.label.words == ("cat",)
    with pytest.raises(AttnProbeError, match=r"Probe.words"):
        ap.Probe(words="")
