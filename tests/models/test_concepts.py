"""ConceptAttention on small pipelines: the prompt's own tokens as concepts are the oracle."""

import pytest
import torch

import attnprobe as ap
from attnprobe import AttnProbeError
from attnprobe.hooks import AttentionHooks, ConceptMaps, PerHead
from attnprobe.models import Model, concept_embeddings
from tests.models import families

PROMPT = "a red star on a blue ground"
WORDS = ("star", "ground", "cat")
FAMILIES = {"sd3": families.sd3, "flux": families.flux, "schnell": families.flux_schnell}


def loaded(name):
    torch.manual_seed(0)
    pipe = FAMILIES[name]()
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return Model(pipe, torch.device("cpu"), name)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return loaded(request.param)


def noised(model):
    generator = torch.Generator().manual_seed(3)
    return model.encode(torch.rand(1, 3, 96, 64, generator=generator) * 2 - 1)


def arguments(model, latents):
    """What the transformer is handed with the prompt, by name."""
    seen = []
    handle = model.denoiser.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    model.denoise(latents, 500, PROMPT)
    handle.remove()
    return seen[0]


def test_the_picture_is_bit_identical_and_captures_see_nothing_of_it(model):
    latents, embeddings = noised(model), concept_embeddings(model, WORDS)
    with ap.capture(model.denoiser, keep=PerHead()) as alone:
        plain = model.denoise(latents, 500, PROMPT)
    for outer in (True, False):
        maps = ConceptMaps(model.denoiser, embeddings, WORDS)
        capture = ap.capture(model.denoiser, keep=PerHead())
        first, second = (maps, capture) if outer else (capture, maps)
        with first, second:
            assert torch.equal(model.denoise(latents, 500, PROMPT), plain)
        assert [*capture.records] == [*alone.records]
        assert all(torch.equal(capture[name], alone[name]) for name in alone.records)
    assert torch.equal(model.denoise(latents, 500, PROMPT), plain)


def test_the_prompt_s_own_tokens_as_concepts_have_the_prompt_s_outputs(model):
    """The whole text as concepts is the prompt's stream again, to the last layer."""
    latents = noised(model)
    given, calls = arguments(model, latents), {}
    text = given["encoder_hidden_states"][0]
    names = tuple(map(str, range(len(text))))
    maps = ConceptMaps(model.denoiser, text, names, pooled=given["pooled_projections"])
    hooks = AttentionHooks(model.denoiser)
    hooks.add(lambda call: calls.__setitem__(call.name, call))
    with maps, hooks:
        model.denoise(latents, 500, PROMPT)
    found = maps.words()
    assert found
    for layer in found:
        call = calls[f"{layer.origin}.attn"]
        out = call.out[0].transpose(0, 1).flatten(1)
        expected = (out[call.text_keys()] @ out[call.image_queries()].T).softmax(0)
        assert (layer.grid, layer.words) == ((6, 4), names)
        torch.testing.assert_close(layer.maps.flatten(1), expected, rtol=1e-4, atol=1e-7)


def test_steps_are_averaged(model):
    latents, embeddings = noised(model), concept_embeddings(model, WORDS)
    each = []
    for timestep in (300, 700):
        with ConceptMaps(model.denoiser, embeddings, WORDS) as maps:
            model.denoise(latents, timestep, PROMPT)
        each.append(maps.words()[0].maps)
    with ConceptMaps(model.denoiser, embeddings, WORDS) as maps:
        for timestep in (300, 700):
            model.denoise(latents, timestep, PROMPT)
    torch.testing.assert_close(maps.words()[0].maps, (each[0] + each[1]) / 2)
    torch.testing.assert_close(maps.words()[0].maps.sum(0), torch.ones(6, 4))


def test_a_pass_that_fails_leaves_nothing_behind(model):
    latents, embeddings = noised(model), concept_embeddings(model, WORDS)
    hooks = [
        (m, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.denoiser.modules()
    ]
    handle = model.denoiser.proj_out.register_forward_pre_hook(lambda *_: 1 / 0)
    with ConceptMaps(model.denoiser, embeddings, WORDS) as maps:
        with pytest.raises(ZeroDivisionError):
            model.denoise(latents, 500, PROMPT)
        handle.remove()
        model.denoise(latents, 500, PROMPT)
    torch.testing.assert_close(maps.words()[0].maps.sum(0), torch.ones(6, 4))
    for module, after, before in hooks:
        assert (len(module._forward_hooks), len(module._forward_pre_hooks)) == (after, before)


def test_what_is_wrong_is_told(model, tiny):
    embeddings = concept_embeddings(model, WORDS)
    assert len(embeddings) == 3
    with pytest.raises(AttnProbeError, match=r"must be Flux.1's or Stable Diffusion 3's. Got UNet"):
        ConceptMaps(tiny.denoiser, embeddings, WORDS)
    with pytest.raises(AttnProbeError, match=r"two concepts or more, each with an embedding; got"):
        ConceptMaps(model.denoiser, embeddings, ("star", "ground"))
    with pytest.raises(AttnProbeError, match="did not run inside the block"):
        ConceptMaps(model.denoiser, embeddings, WORDS).words()
    with pytest.raises(AttnProbeError, match=r"concepts are for Flux.1 and Stable Diffusion 3"):
        concept_embeddings(tiny, WORDS)


def test_of_several_rows_one_is_asked_for():
    model = loaded("sd3")
    embeddings = concept_embeddings(model, WORDS)
    drawn = {"num_inference_steps": 1, "height": 64, "width": 64, "output_type": "latent"}
    with ConceptMaps(model.denoiser, embeddings, WORDS) as maps:
        model.pipe(PROMPT, guidance_scale=4.0, **drawn)
    with pytest.raises(AttnProbeError, match=r"the batch had 2 rows; say which by words\(item=0\)"):
        maps.words()
    with pytest.raises(AttnProbeError, match="no row 2; allowed: 0 to 1"):
        maps.words(item=2)
    each = [maps.words(item=item)[0].maps for item in (0, 1)]
    assert not torch.equal(*each)
    with ConceptMaps(model.denoiser, embeddings, WORDS) as maps:
        model.pipe(PROMPT, guidance_scale=4.0, **drawn)
        model.pipe(PROMPT, guidance_scale=1.0, **drawn)
    with pytest.raises(AttnProbeError, match="passes had batches of 1 and 2 rows"):
        maps.words(item=0)
