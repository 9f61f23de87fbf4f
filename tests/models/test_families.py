"""What a family's denoiser is shown: against its own pipeline, call by call."""

from __future__ import annotations

import types
from typing import Any

import diffusers as D
import numpy as np
import pytest
import torch

from attnprobe import Layers, ModelSpec, Pipeline, Probe, capture
from attnprobe.aggregate import Multiscale
from attnprobe.data.scenes import make_scene
from attnprobe.errors import CaptureError, ModelError
from attnprobe.group import KMeans
from attnprobe.hooks import HeadMean, TextMaps, TokenMaps, attention_layers
from attnprobe.models import Model
from attnprobe.models.families import FAMILIES, encode_kl
from attnprobe.recipe import load_recipe
from tests.models import families
from tests.models.families import ALL

PROMPT = "a photograph of a red star"
STEPS = 3

CPU = torch.device("cpu")


def recorded(pipe: Any, call: Any) -> list[dict[str, Any]]:
    """What the denoiser was given in each of its passes."""
    seen = []

    def note(module: Any, args: Any, kwargs: Any) -> None:
        named = {f"#{i}": value for i, value in enumerate(args)} | kwargs
        seen.append({name: cloned(value) for name, value in named.items()})

    handle = pipe.transformer.register_forward_pre_hook(note, with_kwargs=True)
    try:
        call()
    finally:
        handle.remove()
    return seen


def cloned(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    return [cloned(each) for each in value] if isinstance(value, list | tuple) else value


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.fixture(params=ALL, ids=[make.__name__ for make in ALL])
def model(request) -> Model:
    return Model(built(request.param), CPU, request.param.__name__)


SEEN = [make for make in ALL if make is not families.flux2]

of_those_that_are_seen = pytest.mark.parametrize(
    "model", SEEN, ids=[make.__name__ for make in SEEN], indirect=True
)
"""Families of which it is seen where the prompt's tokens lie."""


def built(make: Any) -> Any:
    torch.manual_seed(0)
    pipe = make()
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return pipe


def own_call(model: Model, latents: torch.Tensor, **more: Any) -> list[dict[str, Any]]:
    """The family's own pipeline, drawing from these latents without guidance."""
    family, pipe = model.family, model.pipe
    batch, channels, height, width = latents.shape
    side = pipe.vae_scale_factor
    if family.packed:
        latents = pipe._pack_latents(latents, batch, channels, height, width)
    sizes = {"height": height * side, "width": width * side, "output_type": "latent"}
    return recorded(
        pipe,
        lambda: pipe(
            prompt=PROMPT,
            latents=latents,
            num_inference_steps=STEPS,
            **sizes,
            **family.call,
            **more,
        ),
    )


def test_a_pass_is_that_of_the_family_s_own_pipeline(model):
    """At every step's timestep the denoiser is told the same, and at the first shown the same."""
    pixels = torch.rand(1, 3, 2 * model.multiple, 4 * model.multiple) * 2 - 1
    latents = model.encode(pixels)
    theirs = own_call(model, latents)
    timesteps = model.pipe.scheduler.timesteps.tolist()
    assert len(theirs) == len(timesteps) == STEPS
    for number, (seen, timestep) in enumerate(zip(theirs, timesteps, strict=True)):
        (ours,) = recorded(model.pipe, lambda t=timestep: model.denoise(latents, t, PROMPT))
        assert ours.keys() == seen.keys()
        latent = "#0" if "#0" in ours else "hidden_states"
        for name in ours:
            if name != latent or number == 0:
                assert same(ours[name], seen[name]), (name, number)


def test_a_pass_is_one_without_guidance(model):
    """One picture and one text; guidance would double them."""
    latents = model.encode(torch.zeros(1, 3, 64, 64))
    (seen,) = recorded(model.pipe, lambda: model.denoise(latents, 500, PROMPT))
    seen.pop("image_rotary_emb", None)  # a pair
    for value in seen.values():
        batch = isinstance(value, list) or (isinstance(value, torch.Tensor) and value.ndim == 3)
        assert not batch or len(value) == 1


def marked(encoder: Any, number: int, ids: dict[int, list[int]]) -> Any:
    """Make an encoder's states say of each row which encoder and token it is of."""

    def mark(_: Any, args: Any, kwargs: Any, found: Any) -> Any:
        given = kwargs.get("input_ids", args[0] if args else None)
        ids[number] = given.flatten().tolist()
        rows = torch.arange(given.shape[1]) + 1000.0 * (number + 1)

        def state(old: torch.Tensor) -> torch.Tensor:
            return rows[None, :, None].expand(old.shape).clone()

        if getattr(found, "hidden_states", None) is not None:
            found.hidden_states = tuple(state(old) for old in found.hidden_states)
        if getattr(found, "last_hidden_state", None) is not None:
            found.last_hidden_state = state(found.last_hidden_state)
        return found

    return encoder.register_forward_hook(mark, with_kwargs=True)


def text_of(model: Model, prompt: str, places: tuple[int, ...]) -> str:
    """What stands at places of the text that the denoiser is handed, as the marks say."""
    encoders = [
        (name, part)
        for name, part in model.pipe.components.items()
        if name.startswith("text_encoder") and part is not None
    ]
    ids: dict[int, list[int]] = {}
    handles = [marked(part, number, ids) for number, (_, part) in enumerate(encoders)]
    latents = model.encode(torch.zeros(1, 3, 64, 64))
    (seen,) = recorded(model.pipe, lambda: model.denoise(latents, 500, prompt))
    for handle in handles:
        handle.remove()
    given = [
        each for value in seen.values() for each in (value if isinstance(value, list) else [value])
    ]
    rows = [each.reshape(-1, each.shape[-1])[:, 0] for each in given if _is_marked(each)]
    marks = [divmod(int(rows[0][place]), 1000) for place in places]
    assert len({number for number, _ in marks}) == 1
    name = encoders[marks[0][0] - 1][0].replace("text_encoder", "tokenizer")
    return getattr(model.pipe, name).decode([ids[marks[0][0] - 1][place] for _, place in marks])


def _is_marked(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim in (2, 3) and bool((value >= 1000).any())


POOL = ["red", "star", "cat", "Photograph", "naïve", "don't", "of", "the", "zebra-crossing", "猫"]


def prompts(count: int) -> list[tuple[str, str]]:
    """Prompts and a word of each: of one to 300 words, in other scripts, with the word twice."""
    draw = np.random.default_rng(0)
    made = [("an 😀 emoji and a kite", "kite"), ("红色的 star 和猫", "star"), ("STAR", "star")]
    while len(made) < count:
        words = draw.choice(POOL, int(draw.integers(1, 12))).tolist()
        made.append((", ".join(words) if draw.random() < 0.3 else " ".join(words), words[-1]))
    return [*made, (" ".join(["dog"] * 299 + ["kite"]), "kite")]


def test_words_are_refused_where_the_text_was_not_seen():
    """Flux.2's processor writes the template and cuts it into tokens in one."""
    with pytest.raises(CaptureError, match="what was made of the prompt wasn't seen"):
        Model(built(families.flux2), CPU, "flux2").places(PROMPT, ("star",))


@of_those_that_are_seen
def test_words_lie_where_their_tokens_are_in_the_denoiser_s_text(model):
    """The oracle: encoders whose states say which token they are of."""
    refused = []
    for prompt, word in prompts(40):
        try:
            places = model.places(prompt, (word,))[word]
        except CaptureError as error:
            refused.append(str(error))
            continue
        found = text_of(model, prompt, places)
        # CLIP's decoder writes spaces around a hyphen, and a token may have a comma beside it
        assert found.replace(" ", "").strip(",").lower() == word.lower(), (prompt, word, places)
    assert len(refused) <= 1, refused  # of 300 words the last, where fewer are taken
    assert all("cut off" in why for why in refused)


def test_words_that_are_not_there_are_refused(model):
    with pytest.raises(CaptureError, match=r"the prompt has no word 'sofa'"):
        model.places(PROMPT, ("sofa",))


def test_a_pass_leaves_the_pipeline_as_it_was(model):
    before, scheduler = dict(vars(model.pipe)), model.pipe.scheduler
    state = {name: value.clone() for name, value in model.denoiser.state_dict().items()}
    model.denoise(model.encode(torch.zeros(1, 3, 64, 64)), 500, PROMPT)
    assert vars(model.pipe) == before
    assert model.pipe.scheduler is scheduler
    assert all(
        torch.equal(state[name], value) for name, value in model.denoiser.state_dict().items()
    )


IMAGE_TO_IMAGE = [
    (families.sd3, D.StableDiffusion3Img2ImgPipeline, {"guidance_scale": 1.0}),
    (families.flux, D.FluxImg2ImgPipeline, {"guidance_scale": 3.5}),
    (families.qwen_image, D.QwenImageImg2ImgPipeline, {"true_cfg_scale": 1.0}),
    (families.z_image, D.ZImageImg2ImgPipeline, {"guidance_scale": 0.0}),
]


@pytest.mark.parametrize(
    ("make", "cls", "call"), IMAGE_TO_IMAGE, ids=[make.__name__ for make, *_ in IMAGE_TO_IMAGE]
)
def test_latents_and_noise_are_those_of_image_to_image(make, cls, call):
    """diffusers' own walk from a picture: encoded, noised to the step, shown."""
    pipe = built(make)
    _without_variance(pipe.vae)
    model = Model(pipe, CPU, "mine")
    parts = {name: part for name, part in pipe.components.items() if part is not None}
    theirs = cls(**{name: parts[name] for name in parts if name in cls.__init__.__annotations__})
    theirs.set_progress_bar_config(disable=True)
    pixels = torch.rand(1, 3, 64, 128)
    draw = torch.Generator().manual_seed(5)
    seen = recorded(
        pipe,
        lambda: theirs(
            prompt=PROMPT, image=pixels, strength=0.5, num_inference_steps=4, generator=draw,
            height=64, width=128, output_type="latent", **call,
        ),
    )  # fmt: skip
    timestep = float(theirs.scheduler.timesteps[-2])
    again = torch.Generator().manual_seed(5)
    clean = model.encode(pixels * 2 - 1)
    shape = clean.shape
    torch.randn(shape, generator=again)  # of the posterior's sample, which has no variance
    noise = torch.randn(shape, generator=again)
    expected = (1 - timestep / 1000) * clean + timestep / 1000 * noise
    (ours,) = recorded(pipe, lambda: model.denoise(expected, timestep, PROMPT))
    latent = "#0" if "#0" in ours else "hidden_states"
    for name in ours:
        if name == latent:
            one, other = _tensor(ours[name]), _tensor(seen[0][name])
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        elif name != "return_dict":
            assert same(ours[name], seen[0][name]), name


def _tensor(value: Any) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else value[0]


def _without_variance(vae: Any) -> None:
    """Make a posterior's samples its mean."""
    convolution = vae.quant_conv
    half = convolution.weight.shape[0] // 2
    with torch.no_grad():
        convolution.weight[half:] = 0
        convolution.bias[half:] = -60


def test_a_family_that_is_not_known_is_refused_by_name():
    pipe = D.DiTPipeline.__new__(D.DiTPipeline)
    with pytest.raises(ModelError) as caught:
        Model(pipe, CPU, "mine")
    said = str(caught.value)
    assert said.startswith("model mine (DiTPipeline) can't be probed: its family isn't known here")
    assert "StableDiffusion3Pipeline" in said


def test_parts_in_training_are_refused():
    pipe = families.sd3()
    with pytest.raises(ModelError, match="its text_encoder_3 is in training mode, in which drop"):
        Model(pipe, CPU, "mine")


def test_what_a_distilled_model_is_told_is_in_the_records():
    assert Model(built(families.flux), CPU, "dev").describe()["guidance"] == 3.5
    assert "guidance" not in Model(built(families.flux_schnell), CPU, "schnell").describe()


@pytest.mark.parametrize("make", [families.sd3_without_t5, families.flux, families.hunyuan_dit])
def test_from_a_folder_to_segments(make, tmp_path):
    make().save_pretrained(tmp_path)
    model = ModelSpec(repo=str(tmp_path), device="cpu").load()
    kind = {layer.kind for layer in attention_layers(model.denoiser)} - {"cross"}
    probe = Probe(size=128, timesteps=(300,), noise=True, layers=Layers(kind=kind.pop()))
    scene = make_scene("test", 0).image
    found = Pipeline(model, probe, Multiscale(), KMeans(clusters=3)).segment(scene)
    assert found.labels.shape == (128, 128)
    assert found.count == 3


@of_those_that_are_seen
def test_word_maps_are_the_columns_of_the_words_tokens(model):
    """The oracle: the layer's own maps, and the text's place among the keys."""
    kinds = {layer.kind for layer in attention_layers(model.denoiser)}
    layers = Layers(kind="joint" if "joint" in kinds else "cross")
    latents = model.encode(torch.rand(1, 3, 64, 64) * 2 - 1)
    places = model.places(PROMPT, ("star",))
    with (
        capture(model.denoiser, layers, TokenMaps(places)) as words,
        capture(model.denoiser, layers, HeadMean()) as maps,
    ):
        model.denoise(latents, 300, PROMPT)
    for name in words.records:
        keys = maps.records.records[name].steps[0][0].keys
        (text,) = [span for span in keys.spans[0] if span.role == "text"]
        columns = [text.start + place for place in places["star"]]
        whole = maps[name][0]
        spans = maps.records.records[name].steps[0][0].queries.spans[0]
        (rows,) = [span for span in spans if span.role == "image"]
        image = whole[rows.start : rows.stop]
        torch.testing.assert_close(words[name][0][:, 0], image[:, columns].sum(1))


def test_each_family_is_a_pipeline_of_diffusers():
    assert all(hasattr(D, name) for name in FAMILIES)


def test_maps_of_every_token_are_the_columns_of_the_text(model):
    """The oracle: the layer's own maps, and the text's place among the keys."""
    kinds = {layer.kind for layer in attention_layers(model.denoiser)}
    layers = Layers(kind="joint" if "joint" in kinds else "cross")
    latents = model.encode(torch.rand(1, 3, 64, 64) * 2 - 1)
    with (
        capture(model.denoiser, layers, TextMaps()) as texts,
        capture(model.denoiser, layers, HeadMean()) as maps,
    ):
        model.denoise(latents, 300, PROMPT)
    for name in texts.records:
        kept = maps.records.records[name].steps[0][0]
        (text,) = [span for span in kept.keys.spans[0] if span.role == "text"]
        (image,) = [span for span in kept.queries.spans[0] if span.role == "image"]
        expected = maps[name][0][image.start : image.stop, text.start : text.stop]
        torch.testing.assert_close(texts[name][0], expected)
    fields = texts.words()
    assert fields[0].words == tuple(map(str, range(len(fields[0].maps))))


def test_seg4diff_from_its_recipe(tmp_path):
    families.sd3().save_pretrained(tmp_path)
    changes = [
        f"model={{repo: '{tmp_path}', text_encoder_3: false, text_tokens: 77, device: cpu}}",
        "probe.size=128",
        "probe.word_layers.names=[transformer_blocks.1.attn]",
    ]
    pipeline = load_recipe("seg4diff", changes).build()
    assert pipeline.model.pipe.text_encoder_3 is None
    (field,) = pipeline.fields(make_scene("test", 0).image)
    assert (len(field.words), field.grid) == (154, (8, 8))
    assert pipeline.segment(make_scene("test", 0).image).labels.shape == (128, 128)


def test_parts_and_numbers_that_a_model_does_not_have_are_refused(tiny):
    with pytest.raises(ModelError, match="has no text_encoder_3 that could be left out"):
        ModelSpec(preset="tiny", text_encoder_3=False).load()
    with pytest.raises(ModelError, match="takes no number of text tokens"):
        ModelSpec(preset="tiny", text_tokens=77).load()


def test_latents_whose_scale_is_not_said_are_refused():
    pipe = types.SimpleNamespace(vae=families.vae(4))
    said = dict(pipe.vae.config)
    del said["scaling_factor"]
    pipe.vae._internal_dict = said
    with pytest.raises(ModelError, match="doesn't say by what latents are scaled"):
        encode_kl(pipe, torch.zeros(1, 3, 16, 16))
