"""Names of guidance branches: what the rows are, told by the pipelines of diffusers, or None."""

import diffusers as D
import pytest
import torch
from diffusers.hooks import apply_faster_cache
from diffusers.modular_pipelines.modular_pipeline import PipelineState
from diffusers.modular_pipelines.stable_diffusion_xl.denoise import StableDiffusionXLDenoiseStep

import attnprobe as ap
from attnprobe.errors import CaptureError
from tests.hooks import pipelines

MID = ap.Layers(block="mid")
CROSS = "mid_block.attentions.0.transformer_blocks.0.attn2"
SELF = "mid_block.attentions.0.transformer_blocks.0.attn1"


def shown(model, work) -> list[tuple[str, ...]]:
    """What each row of each pass was really given: texts of `pipelines` have a sign."""
    rows = []

    def look(module, args, kwargs):
        text = kwargs.get("encoder_hidden_states")
        if text is None:
            text = kwargs["added_cond_kwargs"]["image_embeds"]
        rows.append(tuple("cond" if row.float().mean() > 0 else "uncond" for row in text))

    handle = model.register_forward_pre_hook(look, with_kwargs=True)
    work()
    handle.remove()
    return rows


def told(capture, name: str | None = None) -> list[tuple[str | None, ...]]:
    """The branches that are said of each pass."""
    record = capture.records.records[name or next(iter(capture.records))]
    return [kept.branches for passes in record.steps for kept in passes]


@pytest.mark.parametrize("build", pipelines.ALL)
def test_rows_are_what_they_were_given(build):
    """In one batch or pass by pass, the prompt first or last; and the prompt's is the default."""
    torch.manual_seed(0)
    model, draw = build()
    with ap.capture(model, over_steps="each", missing="ignore") as capture:
        given = shown(model, draw)
    assert told(capture) == given
    assert {row for rows in given for row in rows} == {"cond", "uncond"}
    for name, record in capture.records.records.items():
        for step in (0, 1):
            rows = [row for kept in record.steps[step] for row in kept.branches]
            assert torch.equal(
                capture.at(name, step=step), capture.at(name, rows.index("cond"), step)
            )
            assert torch.equal(
                capture.at(name, "uncond", step), capture.at(name, rows.index("uncond"), step)
            )


def test_a_guider_of_a_modular_pipeline_names_its_passes():
    torch.manual_seed(0)
    unet, _ = pipelines.sdxl()
    pipe = StableDiffusionXLDenoiseStep().init_pipeline()
    scheduler = D.EulerDiscreteScheduler()
    scheduler.set_timesteps(2)
    pipe.update_components(unet=unet, scheduler=scheduler, guider=D.ClassifierFreeGuidance())
    pipe.set_progress_bar_config(disable=True)
    state = PipelineState()
    state.set("latents", torch.randn(1, 4, 16, 16))
    state.set("timesteps", scheduler.timesteps)
    state.set("num_inference_steps", 2)
    given = pipelines.texts("prompt_embeds", "pooled_prompt_embeds")
    given |= dict.fromkeys(("add_time_ids", "negative_add_time_ids"), torch.rand(1, 6))
    for name, value in given.items():
        state.set(name, value, "denoiser_input_fields")
    with ap.capture(unet, over_steps="each") as capture:
        rows = shown(unet, lambda: pipe(state))
    assert told(capture) == rows == [("cond",), ("uncond",)] * 2
    assert [passes[0].steps for passes in capture.records.records[SELF].steps] == [(0,), (1,)]


def test_classes_are_told_by_the_class_that_means_none():
    transformer = D.DiTTransformer2DModel(
        sample_size=8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    ).eval()
    pipe = D.DiTPipeline(transformer, pipelines.vae(), D.DDIMScheduler())
    pipe.set_progress_bar_config(disable=True)
    with ap.capture(transformer) as capture:
        pipe([7, 3], num_inference_steps=1, guidance_scale=4.0, output_type="np")
    assert capture.records.branches == ("cond", "cond", "uncond", "uncond")
    with ap.capture(transformer) as capture:
        pipe([7], num_inference_steps=1, guidance_scale=1.0, output_type="np")
    assert capture.records.branches == (None,)


def parts(tiny) -> dict:
    pipe = tiny.pipe
    return {
        "vae": pipe.vae,
        "text_encoder": pipe.text_encoder,
        "tokenizer": pipe.tokenizer,
        "unet": pipe.unet,
        "scheduler": pipe.scheduler,
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def drawn(tiny, cls, prompt="a red disc", steps: int = 2, keep=None, **given):
    """A capture of the middle block while a pipeline of the embedded model's parts draws."""
    made = {name: given.pop(name) for name in ("pag_applied_layers",) if name in given}
    pipe = cls(**(parts(tiny) | made))
    pipe.set_progress_bar_config(disable=True)
    size = {"height": 128, "width": 128, "output_type": "latent"}
    with ap.capture(tiny.denoiser, MID, keep) as capture:
        pipe(prompt, num_inference_steps=steps, **(size | given))
    return capture


@pytest.mark.parametrize(
    ("given", "branches"),
    [
        ({}, ("uncond", "cond")),
        ({"negative_prompt": "a green star"}, ("uncond", "cond")),
        ({"prompt": ["a red disc", "a star"]}, ("uncond", "uncond", "cond", "cond")),
        ({"num_images_per_prompt": 2}, ("uncond", "uncond", "cond", "cond")),
        ({"guidance_scale": 1.0}, (None,)),
        ({"guidance_scale": 1.0, "prompt": ["a red disc", "a star"]}, (None, None)),
        ({"negative_prompt": "a red disc"}, (None, None)),  # one text: nothing tells them apart
        ({"prompt": ["", "a star"]}, (None,) * 4),  # one is the negative prompt too
    ],
)
def test_stable_diffusion(tiny, given, branches):
    given = {"guidance_scale": 5.0} | given
    assert drawn(tiny, D.StableDiffusionPipeline, **given).records.branches == branches


def test_two_prompts_over_one_noise_are_no_guidance(tiny):
    noise = torch.randn(1, 4, 32, 32).repeat(2, 1, 1, 1)
    given = {"latents": noise, "guidance_scale": 0.0}
    capture = drawn(tiny, D.StableDiffusionPipeline, ["a red disc", "a star"], **given)
    assert capture.records.branches == (None, None)
    with pytest.raises(CaptureError, match=r"isn't known; .* item=0 \(unknown\), 1 \(unknown\)"):
        capture.at(CROSS)


def test_semantic_guidance_has_rows_that_nobody_names(tiny):
    given = {"editing_prompt": ["blue", "green star"], "guidance_scale": 5}
    capture = drawn(tiny, D.SemanticStableDiffusionPipeline, **given)
    assert capture.records.branches == (None,) * 4


@pytest.mark.parametrize(
    ("scale", "cross", "own"),
    [(0.0, ("cond", None), ("cond",)), (5.0, ("uncond", "cond", None), ("uncond", "cond"))],
)
def test_perturbed_attention_guidance(tiny, scale, cross, own):
    """The perturbed row is neither branch, and doesn't attend in the layers perturbed."""
    given = {"guidance_scale": scale, "pag_scale": 3.0, "pag_applied_layers": ["mid"]}
    capture = drawn(tiny, D.StableDiffusionPAGPipeline, **given)
    assert told(capture, CROSS) == [cross]
    assert torch.equal(capture.at(CROSS), capture.at(CROSS, cross.index("cond")))
    assert told(capture, SELF) == [own]
    assert torch.equal(capture.at(SELF), capture.at(SELF, own.index("cond")))
    assert len(capture.fields()) == 1


def test_frames_of_a_video_lie_in_its_item_s_rows(tiny):
    """Each frame is given the text by itself, and is a row of the batch in spatial layers."""
    adapter = D.MotionAdapter(
        block_out_channels=tiny.denoiser.config.block_out_channels,
        motion_layers_per_block=1,
        motion_mid_block_layers_per_block=1,
        motion_num_attention_heads=2,
        motion_norm_num_groups=4,
    )
    given = {name: part for name, part in parts(tiny).items() if "safety" not in name}
    pipe = D.AnimateDiffPipeline(**given, motion_adapter=adapter)
    pipe.set_progress_bar_config(disable=True)
    size = {"height": 64, "width": 64, "num_frames": 3, "output_type": "latent"}
    with ap.capture(pipe.unet, ap.Layers(names=CROSS)) as capture:
        pipe("a red disc", num_inference_steps=1, guidance_scale=5.0, **size)
    assert capture.records.branches == ("uncond",) * 3 + ("cond",) * 3
    with pytest.raises(CaptureError, match=r"3 rows that are the prompt's .* or windows"):
        capture.at(CROSS)


def test_faster_cache_leaves_rows_out():
    transformer, draw = pipelines.cogvideox()
    turn = iter(range(99))
    apply_faster_cache(
        transformer,
        D.FasterCacheConfig(
            spatial_attention_block_skip_range=2,
            spatial_attention_timestep_skip_range=(-1, 600),
            unconditional_batch_skip_range=2,
            unconditional_batch_timestep_skip_range=(-1, 901),
            attention_weight_callback=lambda _: 0.5,
            current_timestep_callback=lambda: 950 - 100 * next(turn),
            tensor_format="BFCHW",
        ),
    )
    with ap.capture(transformer, over_steps="each", missing="ignore") as capture:
        draw(num_inference_steps=4)
    name = next(iter(capture.records))
    said = told(capture, name)
    assert said[0] == ("uncond", "cond")
    assert (None,) in said
    alone = said.index((None,))
    with pytest.raises(CaptureError, match="is the prompt's isn't known"):
        capture.at(name, step=alone)
    assert capture.at(name, 0, alone).ndim == 2


def test_skip_layer_guidance_is_a_pass_of_its_own():
    """Four steps, not seven; the pass with layers skipped is of the prompt, but not its branch."""
    torch.manual_seed(0)
    transformer, draw = pipelines.sd3()
    skipping = {"skip_guidance_layers": [1], "skip_layer_guidance_start": 0.2}
    with ap.capture(transformer, over_steps="each", missing="ignore") as capture:
        draw(num_inference_steps=4, skip_layer_guidance_stop=0.9, **skipping)
    name = next(iter(capture.records))
    record = capture.records.records[name]
    assert [passes[0].steps for passes in record.steps] == [(0,), (1,), (2,), (3,)]
    assert [len(passes) for passes in record.steps] == [1, 2, 2, 2]
    assert told(capture)[2] == (None,)
    torch.manual_seed(0)
    transformer, draw = pipelines.sd3()
    with ap.capture(transformer, steps=range(2, 4), missing="ignore") as some:
        draw(num_inference_steps=4, skip_layer_guidance_stop=0.9, **skipping)
    kept = some.records.records[name].steps[0]
    assert [(each.branches, each.steps) for each in kept] == [
        (("uncond", "cond"), (2, 3)),
        ((None,), (2, 3)),
    ]


def test_self_attention_guidance_runs_twice_a_step(tiny):
    given = {"guidance_scale": 5.0, "sag_scale": 0.75}
    capture = drawn(tiny, D.StableDiffusionSAGPipeline, steps=3, **given)
    kept = capture.records.records[CROSS].steps[0]
    assert [(each.branches, each.steps) for each in kept] == [
        (("uncond", "cond"), (0, 1, 2)),
        ((None,), (0, 1, 2)),  # of blurred latents
    ]
    assert torch.equal(capture.at(CROSS), capture.at(CROSS, 1))


@pytest.mark.parametrize(("views", "rows"), [(1, 6), (2, 6)])
def test_windows_of_a_step_are_kept_apart(tiny, views, rows):
    given = {"guidance_scale": 5.0, "height": 256, "width": 640, "view_batch_size": views}
    capture = drawn(tiny, D.StableDiffusionPanoramaPipeline, **given)
    assert len(capture[CROSS]) == rows
    assert {step for each in capture.records.records[CROSS].steps[0] for step in each.steps} == {
        0,
        1,
    }
    with pytest.raises(CaptureError, match=r"rows that are the prompt's .* or windows"):
        capture.at(CROSS)


@pytest.mark.parametrize(
    ("scheduler", "count"),
    [
        (D.HeunDiscreteScheduler, 5),
        (D.KDPM2DiscreteScheduler, 5),
        (D.DDIMScheduler, 3),
        (D.UniPCMultistepScheduler, 3),
    ],
)
def test_steps_are_the_scheduler_s(tiny, scheduler, count):
    """A scheduler of second order goes through most timesteps twice; each is a step."""
    pipe = D.StableDiffusionPipeline(**parts(tiny))
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = scheduler.from_config(tiny.pipe.scheduler.config)
    moments = []
    hooks = ap.AttentionHooks(tiny.denoiser)
    hooks.add(lambda call: moments.append(call.moment), ap.Layers(names=CROSS))
    with hooks:
        pipe("a red disc", num_inference_steps=3, height=128, width=128, output_type="latent")
    assert [moment.step for moment in moments] == list(range(count))
    assert [moment.timestep for moment in moments] == pipe.scheduler.timesteps.tolist()
    assert {moment.branches for moment in moments} == {("uncond", "cond")}


def test_guidance_that_ends_early_has_no_mean_over_all_steps(tiny):
    def end(pipe, step, timestep, tensors):
        pipe._guidance_scale = 1.0
        return {"prompt_embeds": tensors["prompt_embeds"][-1:]}

    given = {"callback_on_step_end": end, "callback_on_step_end_tensor_inputs": ["prompt_embeds"]}
    given |= {"guidance_scale": 5.0}
    capture = drawn(tiny, D.StableDiffusionPipeline, steps=3, **given)
    with pytest.raises(CaptureError, match=r"of 3 steps averaged, .* known at 1 only \(not at st"):
        capture.at(CROSS)
    assert [capture.at(CROSS, row).shape for row in range(3)] == [capture[CROSS].shape[1:]] * 3


def test_two_drawings_in_one_block_are_not_mixed(tiny):
    with ap.capture(tiny.denoiser, MID) as capture:
        for prompt in ("a red disc", "a green star"):
            tiny.draw(prompt, 2, 3.0, 0)
    with ap.capture(tiny.denoiser, MID) as second:
        tiny.draw("a green star", 2, 3.0, 0)
    assert capture.records.branches == ("uncond", "cond") * 2
    torch.testing.assert_close(capture.at(CROSS, 3), second.at(CROSS))
    with pytest.raises(CaptureError, match=r"2 rows that are the prompt's .* 1 \(cond\), 2"):
        capture.at(CROSS)


class Community(D.StableDiffusionPipeline):
    """A pipeline of somebody's own, whose loop nobody knows and whose texts have other names."""

    @torch.no_grad()
    def __call__(self, latents, good, bad):
        for now in (900, 500):
            self.unet(torch.cat([latents] * 2), now, torch.cat([good, bad]))


def test_of_a_pipeline_unknown_nothing_is_said(tiny):
    pipe = Community(**parts(tiny))
    text = torch.randn(1, 77, tiny.denoiser.config.cross_attention_dim)
    with ap.capture(tiny.denoiser, MID) as capture:
        pipe(torch.randn(1, 4, 16, 16), text, -text)
    assert capture.records.branches == (None, None)
    assert capture.records.records[CROSS].steps[0][0].steps == (0, 1)


def test_of_a_loop_of_ones_own_nothing_is_said(tiny):
    """Even one whose variables are called as diffusers calls them."""
    prompt_embeds = torch.randn(1, 77, tiny.denoiser.config.cross_attention_dim)
    negative_prompt_embeds = -prompt_embeds
    with ap.capture(tiny.denoiser, MID) as capture, torch.no_grad():
        prompt_embeds = torch.cat([negative_prompt_embeds, prompt_embeds])
        tiny.denoiser(torch.randn(1, 4, 16, 16).repeat(2, 1, 1, 1), 500, prompt_embeds)
    assert capture.records.branches == (None, None)
