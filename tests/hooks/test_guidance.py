"""Guidance, in one batch or pass by pass: no half is dropped, none overwrites the other."""

import pytest
import torch
from diffusers import StableDiffusionPipeline

import attnprobe as ap
from attnprobe.hooks import AttentionHooks, attention_layers
from tests.hooks.small import (
    CROSS,
    MID,
    captured,
    every_head,
    inputs,
    layer_names,
    run_flux,
    small_flux,
    state,
)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory) -> StableDiffusionPipeline:
    """The embedded pipeline, saved and loaded once more in diffusers' format."""
    folder = tmp_path_factory.mktemp("pipeline")
    # one of its own: saving writes into a pipeline's configs, which are part of a field's key
    ap.ModelSpec(preset="tiny", device="cpu").load().pipe.save_pretrained(folder)
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generate(pipe, guidance: float, prompts="a red circle", steps: int = 2) -> torch.Tensor:
    return pipe(
        prompts,
        guidance_scale=guidance,
        num_inference_steps=steps,
        height=64,
        width=96,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    ).images


def branches_of(model, work) -> set[tuple]:
    """The guidance branches that calls were said to be of."""
    told = set()
    hooks = AttentionHooks(model)
    hooks.add(lambda call: told.add(call.moment.branches))
    with hooks:
        work()
    return told


def test_guidance_on_and_off_in_a_pipeline(pipe):
    """On, both halves are kept and named; off, no half of heads or items is taken for one."""
    first = {"keep": every_head, "steps": [0]}
    off = captured(pipe.unet, lambda: generate(pipe, 1.0), **first)
    on = captured(pipe.unet, lambda: generate(pipe, 7.5), **first)
    layers = attention_layers(pipe.unet)
    assert [row["name"] for row in off.layers] == [layer.name for layer in layers]
    for layer in layers:
        single, both = off[layer.name], on[layer.name]
        assert single.shape[:2] == (1, layer.heads)
        assert both.shape[:2] == (2, layer.heads)
        torch.testing.assert_close(both[1:], single, rtol=1e-3, atol=1e-5)
    assert branches_of(pipe.unet, lambda: generate(pipe, 1.0)) == {(None,)}
    assert branches_of(pipe.unet, lambda: generate(pipe, 7.5)) == {("uncond", "cond")}
    words = [layer.name for layer in layers if layer.kind == "cross"]
    assert all(not torch.allclose(on[name][0], on[name][1], atol=1e-3) for name in words)


def test_guidance_of_several_prompts(pipe):
    prompts = ["a red circle", "a blue square", "a leaf"]
    on = captured(pipe.unet, lambda: generate(pipe, 5.0, prompts, 1), keep=every_head)
    off = captured(pipe.unet, lambda: generate(pipe, 1.0, prompts, 1), keep=every_head)
    for name in layer_names(pipe.unet):
        torch.testing.assert_close(on[name][3:], off[name], rtol=1e-3, atol=1e-5)
    told = branches_of(pipe.unet, lambda: generate(pipe, 5.0, prompts, 1))
    assert told == {("uncond",) * 3 + ("cond",) * 3}
    assert branches_of(pipe.unet, lambda: generate(pipe, 1.0, prompts, 1)) == {(None,) * 3}


def test_steps_of_a_pipeline(pipe):
    moments = []
    hooks = AttentionHooks(pipe.unet)
    hooks.add(lambda call: moments.append(call.moment), ap.Layers(index=(0,)))
    with hooks:
        generate(pipe, 5.0, steps=4)
    assert [moment.step for moment in moments] == [0, 1, 2, 3]
    assert [moment.timestep for moment in moments] == pipe.scheduler.timesteps.tolist()
    assert {moment.branches for moment in moments} == {("uncond", "cond")}


def test_maps_of_self_attention_are_not_constant(pipe):
    """Not over keys, and not over queries, at every layer of a trained model."""
    capture = captured(pipe.unet, lambda: generate(pipe, 5.0), ap.Layers(kind="self"))
    for row in capture.layers:
        maps = capture[row["name"]]
        uniform = 1 / maps.shape[-1]
        assert maps.std(-1).min() > 0.01 * uniform, row["name"]
        assert maps.std(-2).mean() > 0.01 * uniform, row["name"]


def passes(unet, texts, timesteps=(300,)):
    """Guidance pass by pass: at each timestep one pass a text, on the same latents."""
    latent = inputs()[0]
    with torch.no_grad():
        return torch.cat([unet(latent * t, t, words).sample for t in timesteps for words in texts])


def test_the_second_guidance_pass_does_not_overwrite_the_first(unet):
    texts = inputs()[2], inputs(seed=2)[2]
    both = captured(unet, lambda: passes(unet, texts, (300, 200)), steps=[1], keep=every_head)
    each = [captured(unet, lambda t=t: passes(unet, [t], (200,)), keep=every_head) for t in texts]
    for name in layer_names(unet):
        assert torch.equal(both[name], torch.cat([one[name] for one in each]))
    assert not torch.allclose(both[CROSS][0], both[CROSS][1], atol=1e-4)


def test_passes_of_one_step_are_told_apart(unet):
    texts = inputs()[2], inputs(seed=2)[2]
    moments = []
    hooks = AttentionHooks(unet)
    hooks.add(lambda call: moments.append((call.step, call.moment.run)), ap.Layers(names=(MID,)))
    with hooks:
        passes(unet, texts, (300, 200))
        passes(unet, texts[:1], (200, 300))
        hooks.new_step()
        passes(unet, texts[:1], (300,))
    assert moments == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (3, 0)]


def test_the_pipelines_own_names_of_its_passes():
    flux = small_flux()
    branches = []
    hooks = AttentionHooks(flux)
    hooks.add(lambda call: branches.append(call.moment.branches), ap.Layers(index=(0,)))
    with flux.cache_context("cond"):  # diffusers puts a registry on each module, and leaves it
        pass
    before = state(flux)
    with hooks:
        for name in ("cond", "uncond"):
            with flux.cache_context(name):
                run_flux(flux)
        with flux.cache_context("cond_uncond"):
            run_flux(flux)
        run_flux(flux)
    assert branches == [("cond",) * 2, ("uncond",) * 2, (None,) * 2, (None,) * 2]
    assert state(flux) == before


def test_named_passes_with_one_text_are_one_step():
    """Guidance with an empty prompt against an empty prompt: only the names differ."""
    flux = small_flux()
    moments = []
    hooks = AttentionHooks(flux)
    hooks.add(lambda call: moments.append((call.step, call.moment.run)), ap.Layers(index=(0,)))
    with hooks:
        for _ in range(2):
            hooks.new_step()
            for name in ("cond", "uncond"):
                with flux.cache_context(name):
                    run_flux(flux)
    assert moments == [(0, 0), (0, 1), (1, 0), (1, 1)]
