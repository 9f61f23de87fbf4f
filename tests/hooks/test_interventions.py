"""Heads ablated, words scaled and maps patched in: by the authors' formulas, written plainly."""

import copy

import pytest
import torch

import attnprobe as ap
from attnprobe.errors import CaptureError
from attnprobe.hooks import AttentionHooks, TokenMatch
from tests.hooks.small import (
    CROSS,
    MID,
    eager,
    inputs,
    run,
    run_flux,
    same_output,
    small_flux,
    state,
)

mid = ap.Layers(names=(MID,))
cross = ap.Layers(names=(CROSS,))
DISC, STAR = "a red disc on a blue ground", "a red star on a blue ground"


def draw(pipe, prompt, steps=3, **options) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    options = {"guidance_scale": 3.0, "output_type": "latent", "generator": generator} | options
    return pipe(prompt, num_inference_steps=steps, **options).images


def calls_under(hooks, model, work, layers):
    """The calls of some layers during `work`, with their edited outputs."""
    seen = []
    hooks.add(seen.append, layers)
    with hooks:
        work(model)
    return seen


@pytest.mark.parametrize("heads", [1, (0, 1), range(1)])
def test_an_ablated_head_is_zero_columns_of_the_projection(unet, heads):
    hooks = AttentionHooks(unet)
    hooks.ablate(heads, mid)
    before = state(unet)
    with hooks:
        ablated = run(unet)
    assert state(unet) == before
    truth = copy.deepcopy(unet)
    weight = truth.get_submodule(MID).to_out[0].weight
    width = weight.shape[1] // 2
    with torch.no_grad():
        for head in [heads] if isinstance(heads, int) else heads:
            weight[:, head * width : (head + 1) * width] = 0
    same_output(ablated, run(truth))
    assert not torch.allclose(ablated, run(unet), atol=1e-5)


@pytest.mark.parametrize("factor", [0, 1.6, -2])
def test_a_scaled_word(unet, factor):
    """M[:, :, j]·c times the values, in float64; rows aren't divided by their sum again."""
    hooks = AttentionHooks(unet)
    hooks.scale(ap.TokenMaps({"cat": (2, 5)}), factor, cross, heads=1)
    (call,) = calls_under(hooks, unet, run, cross)
    truth = eager(call)
    truth[:, 1, :, [2, 5]] *= factor
    torch.testing.assert_close(call.out.double(), truth @ call.v.double(), rtol=0, atol=1e-5)


def test_all_layers_of_text_are_scaled_unless_others_are_said(unet):
    hooks = AttentionHooks(unet)
    handle = hooks.scale(ap.TokenMaps({"cat": (2,)}), 1.0)
    with hooks:
        run(unet)
    assert {row["kind"] for row in hooks.coverage(handle)} == {"cross"}


def test_a_scaled_word_of_joint_attention(unet):
    """The text's columns of the image's queries alone; text comes first in Flux."""
    flux = small_flux()
    layers = ap.Layers(names="transformer_blocks.0.attn")
    hooks = AttentionHooks(flux)
    hooks.scale(ap.TokenMaps({"cat": (3,)}), 2.5, layers, item=1)
    (call,) = calls_under(hooks, flux, run_flux, layers)
    truth = eager(call)
    truth[1, :, 5:, 3] *= 2.5
    torch.testing.assert_close(call.out.double(), truth @ call.v.double(), rtol=0, atol=1e-5)


def test_guidance_s_other_row_is_left_alone(tiny):
    """Of a batch (without, with the prompt) the first row is bit-identical."""
    pipe, plain, scaled = tiny.pipe, [], []
    layer = ap.Layers(kind="cross", index=1)
    for outs, factor in ((plain, None), (scaled, 3.0)):
        hooks = AttentionHooks(pipe.unet)
        if factor:
            hooks.scale(ap.TokenMaps.of(pipe, STAR, "star"), factor, layer)
        hooks.add(lambda call, outs=outs: outs.append(call.out.clone()), layer)
        with hooks:
            draw(pipe, STAR, 1)
    assert torch.equal(plain[0][0], scaled[0][0])
    assert not torch.allclose(plain[0][1], scaled[0][1], atol=1e-5)


def captured(pipe, prompt, kind="cross", **options):
    keep = ap.PerHead()
    with ap.capture(pipe.unet, ap.Layers(kind=kind), keep, over_steps="each") as seen:
        draw(pipe, prompt, **options)
    return seen


class Authors:
    """Their controller on rows (uncond, uncond, base, edited): a processor of a layer.

    AttentionControlEdit.forward: edited rows get replace(base, own)·α + own·(1 − α), α being 1
    until step τ; self-attention of at most 16² queries gets the base's maps.
    """

    def __init__(self, replace, until):
        self.replace, self.until, self.step = replace, until, 0

    def __call__(self, attn, hidden, encoder_hidden_states=None, *args, **kwargs):
        text = encoder_hidden_states
        keys = hidden if text is None else text
        q, k, v = attn.to_q(hidden), attn.to_k(keys), attn.to_v(keys)
        q, k, v = (t.unflatten(2, (attn.heads, -1)).transpose(1, 2) for t in (q, k, v))
        probs = (q @ k.mT * attn.scale).softmax(-1)
        if self.step < self.until:
            base, own = probs[2], probs[3]
            if text is not None:
                probs[3] = self.replace(base, own)
            elif hidden.shape[1] <= 16**2:
                probs[3] = base
        self.step += 1
        return attn.to_out[0]((probs @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("way", ["replacement", "refinement"])
def test_prompt_to_prompt_is_the_authors(tiny, way):
    """A drawing under patches, beside the authors' of both prompts in one batch."""
    after = STAR if way == "replacement" else "a red striped disc on a blue ground"
    pipe, steps, until = tiny.pipe, 3, 2
    match = getattr(TokenMatch, way)(pipe, DISC, after)
    hooks = AttentionHooks(pipe.unet)
    hooks.patch(captured(pipe, DISC), match, steps=range(until))
    small = ap.Layers(kind="self", where=lambda layer: "mid" in layer.name)
    hooks.patch(captured(pipe, DISC, "self"), layers=small, steps=range(until))
    with hooks:
        found = draw(pipe, after, steps)
    places = (
        pipe.tokenizer(after).input_ids.index(pipe.tokenizer("striped").input_ids[1])
        if (way == "refinement")
        else None
    )

    def replaced(base, own):
        if places is None:  # words of one token each: mapper = 1
            return base
        new = torch.cat([base[..., :places], own[..., [places]], base[..., places:-1]], -1)
        count = len(pipe.tokenizer(after).input_ids)
        new[..., count:] = base[..., count:]
        return new

    theirs = copy.deepcopy(pipe.unet)
    processors = {
        name: Authors(replaced, until if "attn2" in name or "mid" in name else 0)
        for name in theirs.attn_processors
    }
    theirs.set_attn_processor(processors)
    other = copy.copy(pipe)
    other.unet = theirs
    channels, side = pipe.unet.config.in_channels, pipe.unet.config.sample_size
    noise = torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(0))
    both = draw(other, [DISC, after], steps, latents=noise.repeat(2, 1, 1, 1))
    assert torch.allclose(both[:1], draw(pipe, DISC, steps), atol=1e-4)
    same_output(found, both[1:], 1e-4)
    assert (found - draw(pipe, after, steps)).abs().max() > 0.05


def test_a_patch_of_the_same_pass_changes_by_rounding_only(tiny):
    pipe, plain = tiny.pipe, draw(tiny.pipe, STAR)
    for kind in ("cross", "self"):
        hooks = AttentionHooks(pipe.unet)
        hooks.patch(captured(pipe, STAR, kind))
        with hooks:
            same_output(draw(pipe, STAR), plain, 1e-4)
    assert torch.equal(draw(pipe, STAR), plain)


def test_reweighting_is_patching_and_scaling(unet):
    """AttentionReweight: attn_base · equalizer, whatever the maps of the pass would be."""
    latent, t, text = inputs()
    with (
        torch.no_grad(),
        ap.capture(unet, cross, ap.PerHead(), over_steps="each") as seen,
    ):
        unet(latent, t, text)
    hooks = AttentionHooks(unet)
    hooks.patch(seen)
    hooks.scale(ap.TokenMaps({"cat": (4,)}), -1.5)

    @torch.no_grad()
    def others(unet):
        unet(latent, t, text.flip(1) * 3)

    (call,) = calls_under(hooks, unet, others, cross)
    equalizer = torch.ones(7, dtype=torch.float64)
    equalizer[4] = -1.5
    truth = (seen[CROSS][0].double() * equalizer) @ call.v.double()
    torch.testing.assert_close(call.out.double(), truth, rtol=0, atol=1e-5)


def test_some_heads_that_were_captured_are_patched(unet):
    with ap.capture(unet, mid, ap.PerHead(heads=(1,)), over_steps="each") as seen:
        run(unet)
    hooks = AttentionHooks(unet)
    hooks.patch(seen)
    with torch.no_grad():
        for name in ("to_q", "to_k"):
            unet.get_submodule(MID).get_submodule(name).weight *= 7
    (call,) = calls_under(hooks, unet, run, mid)
    own = eager(call) @ call.v.double()
    torch.testing.assert_close(call.out[:, 0].double(), own[:, 0], rtol=0, atol=1e-5)
    maps = seen[MID][0].double()
    truth = maps @ call.v[:, 1:].double()
    torch.testing.assert_close(call.out[:, 1:].double(), truth, rtol=0, atol=1e-5)


def test_what_is_not_known_is_refused_at_once(unet, tiny):
    hooks = AttentionHooks(unet)
    with pytest.raises(CaptureError, match="ablate: which heads is not said"):
        hooks.ablate(None)
    with pytest.raises(CaptureError, match="which tokens are 'star' isn't known without the prom"):
        hooks.scale("star", 1.6)
    for factor in ("2", True, float("nan")):
        with pytest.raises(CaptureError, match="the factor must be a number"):
            hooks.scale(ap.TokenMaps({"cat": (2,)}), factor)
    with pytest.raises(CaptureError, match=r"wants a capture of the other pass. Got dict"):
        hooks.patch({})
    layers = {"layers": cross, "over_steps": "each"}
    with (
        ap.capture(unet, keep=ap.HeadMean(), **layers) as means,
        ap.capture(unet, keep=ap.PerHead(), **layers) as heads,
        ap.capture(unet, cross, ap.PerHead()) as averaged,
    ):
        for timestep in (300, 200):
            unet(*inputs()[:1], timestep, inputs()[2])
    with pytest.raises(CaptureError, match=r"each head's maps, by capture\(…, keep=ap.PerHead"):
        hooks.patch(means)
    with pytest.raises(CaptureError, match="steps were averaged; capture with over_steps='each'"):
        hooks.patch(averaged)
    with pytest.raises(CaptureError, match=r"tokens must be a TokenMatch.*Got dict"):
        hooks.patch(heads, {3: 3})
    with pytest.raises(CaptureError, match=f"nothing was captured of {MID}, which is chosen"):
        hooks.patch(heads, layers=mid)
    with pytest.raises(CaptureError, match="step 2 was not captured, which has 0, 1"):
        hooks.patch(heads, steps=range(4))
    assert not hooks._handles


def test_what_is_not_known_is_refused_in_the_pass(unet):
    word = ap.TokenMaps({"cat": (2,)})
    with ap.capture(unet, cross, ap.PerHead(), over_steps="each") as seen:
        run(unet)
    for register, work, told in [
        (lambda h: h.ablate(5, mid), run, rf"{MID} has heads 0 to 1. Got \(5,\)"),
        (
            lambda h: h.scale(word, 2),
            lambda unet: run(unet, 2),
            "which of the 2 rows of .* is the prompt's isn't known; say it by its number",
        ),
        (lambda h: h.scale(word, 2, item=1), run, "item must be -1 to 0"),
        (lambda h: h.scale(word, 2, item="both"), run, "item must be None .* Got 'both'"),
        (
            lambda h: h.scale(ap.TokenMaps({"cat": (7,)}), 2),
            run,
            r"a word is at place 7, but .* has 7 text tokens",
        ),
        (
            lambda h: h.patch(seen),
            lambda unet: run(unet, size=(8, 8)),
            r"\(heads, queries, keys\) \(2, 16, 7\) here and \(2, 64, 7\) in the capture",
        ),
        (
            lambda h: h.patch(seen),
            lambda unet: unet(inputs()[0], 200, inputs()[2]),
            "step 0 is at timestep 200 here and was at 300 in the capture",
        ),
    ]:
        hooks = AttentionHooks(unet)
        register(hooks)
        before = state(unet)
        with pytest.raises(CaptureError, match=told), hooks:
            work(unet)
        assert state(unet) == before


def test_rows_of_several_prompts_are_not_one(tiny):
    hooks = AttentionHooks(tiny.pipe.unet)
    hooks.scale(ap.TokenMaps.of(tiny.pipe, STAR, "star"), 2)
    with (
        pytest.raises(CaptureError, match=r"rows 2, 3 of .* of several prompts; .* item=2"),
        hooks,
    ):
        draw(tiny.pipe, [STAR, DISC], 1)
    hooks = AttentionHooks(tiny.pipe.unet)
    hooks.patch(captured(tiny.pipe, STAR, steps=1))
    with pytest.raises(CaptureError, match=r"has 2 rows that are the prompt's.* item=2"), hooks:
        draw(tiny.pipe, STAR, 1, num_images_per_prompt=2)


def test_a_model_without_words_has_none_to_scale():
    import diffusers

    unet = diffusers.UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    with pytest.raises(CaptureError, match=r"it looks at no words \(kinds of its layers: self\)"):
        AttentionHooks(unet).scale(ap.TokenMaps({"cat": (2,)}), 2)
