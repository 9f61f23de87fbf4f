"""UNets as people run them: adapters, guidance, training, offloading, compiling, threads."""

import gc
import threading
import warnings
import weakref

import pytest
import torch
from accelerate import cpu_offload, cpu_offload_with_hook
from diffusers import StableDiffusionPipeline
from diffusers.models.attention_processor import (
    AttnProcessor,
    IPAdapterAttnProcessor,
    SlicedAttnProcessor,
)
from peft import LoraConfig

import attnprobe as ap
from attnprobe.errors import CaptureError
from attnprobe.hooks import AttentionHooks, Keep, PerHead, attention_layers
from tests.conftest import small_unet
from tests.hooks.small import CROSS, MID, eager, inputs, run, run_flux, small_flux, state

every_head = PerHead()
by_processor = pytest.mark.parametrize(
    "processor",
    [None, AttnProcessor(), SlicedAttnProcessor(1)],
    ids=["native", "classic", "sliced"],
)


def layer_names(model) -> list[str]:
    return [layer.name for layer in attention_layers(model)]


def captured(unet, work, layers=None, keep=None, **options):
    """A capture during `work`, whose result must be as without, and nothing be left behind."""
    plain, before = work(), state(unet)
    with ap.capture(unet, layers, keep, **options) as capture:
        result = work()
    assert torch.equal(result, plain)
    assert state(unet) == before
    return capture


def same_maps(some, others, rtol=1e-4, atol=1e-6) -> None:
    assert [row["name"] for row in some.layers] == [row["name"] for row in others.layers]
    for row in some.layers:
        torch.testing.assert_close(some[row["name"]], others[row["name"]], rtol=rtol, atol=atol)


# Fused projections, LoRA, IP-Adapter


def test_maps_are_in_the_right_order_after_fusing(unet):
    """Queries, keys and values are slices of one product: mixed up, every map would be another."""
    tensors = Keep("q", "k", "v")
    apart = captured(unet, lambda: run(unet, 2, (12, 8)), keep=every_head)
    apart_tensors = captured(unet, lambda: run(unet, 2, (12, 8)), keep=tensors)
    unet.fuse_qkv_projections()
    fused = captured(unet, lambda: run(unet, 2, (12, 8)), keep=every_head)
    fused_tensors = captured(unet, lambda: run(unet, 2, (12, 8)), keep=tensors)
    same_maps(fused, apart)
    for name in layer_names(unet):
        for part in ("q", "k", "v"):
            torch.testing.assert_close(fused_tensors[name][part], apart_tensors[name][part])


LORA = LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False)


def test_lora_through_peft(unet, tmp_path):
    """Saved, loaded, and compared with the same weights fused into the model's."""
    torch.manual_seed(5)
    other = small_unet()
    other.add_adapter(LORA)
    other.save_lora_adapter(tmp_path)
    without = captured(unet, lambda: run(unet), keep=every_head)
    unet.load_lora_adapter(tmp_path, prefix=None, weight_name="pytorch_lora_weights.safetensors")
    adapted = captured(unet, lambda: run(unet), keep=every_head)
    assert not torch.allclose(adapted[MID], without[MID], atol=1e-4)
    names = layer_names(unet)
    unet.fuse_lora()
    fused = captured(unet, lambda: run(unet), keep=every_head)
    same_maps(adapted, fused)
    unet.unfuse_lora()
    unet.unload_lora()
    assert names == layer_names(small_unet())
    same_maps(captured(unet, lambda: run(unet), keep=every_head), without)


IMAGE_WIDTH = 10


def add_ip_adapters(unet, count: int = 1) -> None:
    """IP-Adapters of random weights, four tokens an image, as diffusers' checkpoints hold them."""
    generator = torch.Generator().manual_seed(6)
    states = []
    for _ in range(count):
        layers, number = {}, 1
        for layer in attention_layers(unet):
            if layer.kind == "cross":
                width = unet.get_submodule(layer.name).inner_dim
                for part in ("to_k_ip", "to_v_ip"):
                    weight = torch.randn(width, 24, generator=generator)
                    layers[f"{number}.{part}.weight"] = weight
                number += 2
        project = {
            "proj.weight": torch.randn(4 * 24, IMAGE_WIDTH, generator=generator),
            "proj.bias": torch.zeros(4 * 24),
            "norm.weight": torch.ones(24),
            "norm.bias": torch.zeros(24),
        }
        states.append({"image_proj": project, "ip_adapter": layers})
    unet._load_ip_adapter_weights(states, low_cpu_mem_usage=False)


def run_ip(unet, images: tuple[int, ...], masks=None, batch: int = 2) -> torch.Tensor:
    """A pass with that many reference images for each adapter."""
    generator = torch.Generator().manual_seed(7)
    embeds = [torch.randn(batch, count, IMAGE_WIDTH, generator=generator) for count in images]
    return run(
        unet,
        batch,
        (16, 24),
        added_cond_kwargs={"image_embeds": embeds},
        cross_attention_kwargs={} if masks is None else {"ip_adapter_masks": masks},
    )


@pytest.mark.parametrize("processor", ["native", "classic"])
@pytest.mark.parametrize(
    ("images", "masked", "calls"), [((1,), False, 2), ((2,), True, 3), ((1, 1), True, 3)]
)
def test_ip_adapter(unet, images, masked, calls, processor):
    """Text first, then each image: as the layer's name, name#1, name#2."""
    add_ip_adapters(unet, len(images))
    if processor == "classic":
        make_ip_processors_classic(unet)
    masks = None
    if masked:
        left = (torch.arange(24) < 12).float().expand(16, 24)
        masks = [torch.stack([left, 1 - left][:count])[None] for count in images]
    plain = run_ip(unet, images, masks)
    if masked:
        assert not torch.equal(plain, run_ip(unet, images))

    seen: dict[str, tuple] = {}

    def observe(call):
        torch.testing.assert_close(call.probs().double(), eager(call), rtol=0, atol=1e-6)
        seen[call.name] = (call.kind, call.queries.roles(), call.keys.roles(), call.query_grid)

    hooks = AttentionHooks(unet)
    hooks.add(observe)
    before = state(unet)
    with hooks:
        assert torch.equal(run_ip(unet, images, masks), plain)
    assert state(unet) == before
    layers = attention_layers(unet)
    cross = [layer.name for layer in layers if layer.kind == "cross"]
    adapters = [f"{name}#{index}" for name in cross for index in range(1, calls)]
    assert set(seen) == {layer.name for layer in layers} | set(adapters)
    query, grid = (("image", 96),), (1, 8, 12)
    assert seen[CROSS] == ("cross", query, (("text", 7),), grid)
    for index in range(1, calls):
        assert seen[f"{CROSS}#{index}"] == ("cross", query, (("reference", 4),), grid)


def make_ip_processors_classic(unet) -> None:
    """The processors that diffusers takes where PyTorch has no fused attention."""
    processors = {}
    for name, processor in unet.attn_processors.items():
        if not hasattr(processor, "to_k_ip"):
            processors[name] = AttnProcessor()
            continue
        processors[name] = IPAdapterAttnProcessor(
            processor.hidden_size, 24, processor.num_tokens, processor.scale
        )
        processors[name].load_state_dict(processor.state_dict())
    unet.set_attn_processor(processors)


def test_ip_adapter_is_kept_beside_the_text(unet):
    add_ip_adapters(unet)
    capture = captured(unet, lambda: run_ip(unet, (1,)))
    rows = {row["name"]: row for row in capture.layers}
    assert capture[CROSS].shape == (2, 96, 7)
    assert capture[f"{CROSS}#1"].shape == (2, 96, 4)
    assert rows[f"{CROSS}#1"]["calls"] == 1
    assert f"{MID}#1" not in rows


# Guidance


@pytest.fixture(scope="module")
def pipe(tiny, tmp_path_factory) -> StableDiffusionPipeline:
    """The embedded pipeline, saved and loaded once more in diffusers' format."""
    folder = tmp_path_factory.mktemp("pipeline")
    tiny.pipe.save_pretrained(folder)
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
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
        passes(unet, texts[:1], (200, 200))
    assert moments == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0)]


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
        for name in ("cond", "uncond", "cond", "uncond"):
            with flux.cache_context(name):
                run_flux(flux)
    assert moments == [(0, 0), (0, 1), (1, 0), (1, 1)]


# Batches, sizes, precision, gradients


def test_a_batch_of_three_is_three_batches_of_one(unet):
    latent, t, words = inputs(3)
    with ap.capture(unet, keep=every_head) as together, torch.no_grad():
        unet(latent, t, words)
    for item in range(3):
        with ap.capture(unet, keep=every_head) as alone, torch.no_grad():
            unet(latent[item : item + 1], t, words[item : item + 1])
        for name in layer_names(unet):
            torch.testing.assert_close(
                together[name][item : item + 1], alone[name], rtol=1e-4, atol=1e-6
            )


@pytest.mark.parametrize("size", [(64, 96), (96, 64)])
def test_the_latents_of_512_by_768(size):
    unet = small_unet(block_out_channels=(8, 8), attention_head_dim=1)
    selfs = ap.Layers(kind="self")
    capture = captured(unet, lambda: run(unet, 1, size), selfs)
    grids = [row["grid"] for row in capture.layers]
    half = (size[0] // 2, size[1] // 2)
    assert grids == [size, half, half, half, size, size, half]
    for row, field in zip(capture.layers, capture.fields(), strict=True):
        tokens = row["grid"][0] * row["grid"][1]
        assert field.rows.shape == (tokens, tokens)
        assert field.grid == row["grid"]


def test_maps_of_self_attention_are_not_constant(pipe):
    """Not over keys, and not over queries, at every layer of a trained model."""
    capture = captured(pipe.unet, lambda: generate(pipe, 5.0), ap.Layers(kind="self"))
    for row in capture.layers:
        maps = capture[row["name"]]
        uniform = 1 / maps.shape[-1]
        assert maps.std(-1).min() > 0.01 * uniform, row["name"]
        assert maps.std(-2).mean() > 0.01 * uniform, row["name"]


@by_processor
def test_bfloat16(unet, processor):
    """The maps are those of the bfloat16 queries and keys, in float32: exact, not rounded."""
    unet = unet.bfloat16()
    if processor is not None:
        unet.set_attn_processor(processor)
    latent, t, words = inputs(2)

    def work():
        with torch.no_grad():
            return unet(latent.bfloat16(), t, words.bfloat16()).sample

    truth = {}

    def observe(call):
        truth[call.name] = eager(call)
        torch.testing.assert_close(call.probs().double(), truth[call.name], rtol=0, atol=1e-6)

    hooks = AttentionHooks(unet)
    hooks.add(observe)
    with hooks:
        work()
    capture = captured(unet, work)
    assert set(truth) == set(layer_names(unet))
    for name, probs in truth.items():
        assert capture[name].dtype == torch.float32
        torch.testing.assert_close(capture[name].double(), probs.mean(1), rtol=0, atol=1e-6)


def test_gradient_checkpointing_with_backward_inside_the_block(unet):
    """Backward runs the layers again: those are no calls; gradients are as without capture."""

    def gradients() -> torch.Tensor:
        unet.zero_grad()
        latent, t, words = inputs()
        unet(latent, t, words).sample.square().sum().backward()
        return torch.cat([p.grad.flatten() for p in unet.parameters() if p.grad is not None])

    unet.train()
    unet.enable_gradient_checkpointing()
    capture = captured(unet, gradients)
    assert [row["name"] for row in capture.layers] == layer_names(unet)
    assert {row["calls"] for row in capture.layers} == {1}
    with ap.capture(unet) as twice:
        gradients()
        gradients()
    assert {row["calls"] for row in twice.layers} == {2}
    assert {row["wanted"] for row in twice.coverage()} == {2}


def test_inference_mode_inside_the_block(unet):
    """What is kept are plain tensors, which go on being summed and divided after it."""

    def work():
        latent, _, words = inputs()
        with torch.inference_mode():
            return torch.cat([unet(latent, t, words).sample for t in (300, 200)])

    capture = captured(unet, work)
    assert not capture[MID].is_inference()
    capture[MID].add_(1)
    kept = captured(unet, work, keep=Keep("q", "out"), over_steps="each")
    assert not any(part.is_inference() for part in kept[MID].values())
    with torch.inference_mode():
        inside = captured(unet, lambda: run(unet))
    inside[MID].add_(1)


def test_inference_mode_takes_edits(unet):
    hooks = AttentionHooks(unet)
    hooks.edit(lambda out, call: out.mul_(0), ap.Layers(names=(MID,)), on="out")
    with hooks:
        expected = run(unet)
        with torch.inference_mode():
            assert torch.equal(unet(*inputs()).sample, expected)


# What is left behind, and what of the user's stays


@by_processor
@pytest.mark.parametrize("keep", [None, Keep("q", "k", "v", "out")])
def test_a_pass_that_raises_midway_leaves_nothing(processor, keep):
    unet = small_unet()
    if processor is not None:
        unet.set_attn_processor(processor)
    layer = unet.get_submodule(CROSS)
    layer.to_out[0].register_forward_pre_hook(lambda module, args: 1 / 0)
    before = state(unet)
    capture = ap.capture(unet, keep=keep)
    with pytest.raises(ZeroDivisionError), capture:
        run(unet)
    assert state(unet) == before
    del before, capture
    gone = weakref.ref(unet)
    del unet, layer
    gc.collect()
    assert gone() is None


def test_hooks_and_captures_that_are_kept_do_not_hold_the_model():
    unet = small_unet()
    hooks = AttentionHooks(unet)
    hooks.add(lambda call: None)
    with ap.capture(unet) as capture, hooks:
        run(unet)
    gone = weakref.ref(unet)
    del unet
    gc.collect()
    assert gone() is None
    assert capture[MID].shape == (1, 64, 64)
    assert capture.coverage()[0]["reason"] == ""
    with (
        pytest.raises(CaptureError, match="the UNet2DConditionModel of these hooks is gone"),
        hooks,
    ):
        pass


def test_the_users_own_hooks_stay_and_go_on_working(unet):
    """Those put on before the block, and those put on inside it."""
    seen = []
    layer = unet.get_submodule(MID)
    layer.register_forward_hook(lambda *args: seen.append("early"))
    with ap.capture(unet):
        layer.register_forward_pre_hook(lambda *args: seen.append("late"))
        run(unet)
    assert seen == ["late", "early"]
    run(unet)
    assert seen == ["late", "early"] * 2


def test_a_hook_of_the_users_that_raises_before_a_layer_begins(unet):
    """The layer has not begun, so the one around it must not be taken for ended."""
    layer = unet.get_submodule(MID)
    failing = layer.register_forward_pre_hook(lambda *args: 1 / 0, prepend=True)
    before = state(unet)
    with pytest.raises(ZeroDivisionError), ap.capture(unet):
        run(unet)
    assert state(unet) == before
    failing.remove()
    captured(unet, lambda: run(unet))


def test_an_override_of_the_users_stays(unet):
    unet.set_attn_processor(AttnProcessor())
    layer, counted = unet.get_submodule(MID), []
    scores = layer.get_attention_scores

    def counting(query, key, attention_mask=None):
        counted.append(1)
        return scores(query, key, attention_mask)

    layer.get_attention_scores = counting
    captured(unet, lambda: run(unet))
    assert len(counted) == 2
    assert layer.get_attention_scores is counting


def test_an_override_made_inside_the_block_stays_and_holds_no_capture(unet):
    unet.set_attn_processor(AttnProcessor())
    layer, counted = unet.get_submodule(MID), []
    plain = run(unet)
    with ap.capture(unet) as capture:
        scores = layer.get_attention_scores

        def counting(query, key, attention_mask=None):
            counted.append(1)
            return scores(query, key, attention_mask)

        layer.get_attention_scores = counting
        run(unet)
    assert layer.get_attention_scores is counting
    gone = weakref.ref(capture)
    del capture
    gc.collect()
    assert gone() is None
    assert torch.equal(run(unet), plain)
    assert len(counted) == 2
    assert captured(unet, lambda: run(unet))[MID].shape == (1, 64, 64)


# Threads


def in_threads(*works) -> None:
    """Run them at once, each in a thread; what one raises is raised."""
    raised: list[BaseException] = []

    def guarded(work):
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if raised:
        raise raised[0]


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("models", [1, 2])
@by_processor
def test_two_threads_each_with_its_own_capture(processor, models, last):
    """On two models or on one, with other inputs; their blocks overlap and end in either order."""
    first = small_unet()
    unets = [first, small_unet(block_out_channels=(8, 16)) if models == 2 else first]
    for unet in unets:
        if processor is not None:
            unet.set_attn_processor(processor)
    sizes = [(12, 8), (8, 10)]
    alone, before = [], [state(unet) for unet in unets]
    for unet, size in zip(unets, sizes, strict=True):
        with ap.capture(unet, keep=every_head) as capture:
            plain = run(unet, 2, size)
        alone.append((capture, plain))
    together: dict[int, tuple] = {}
    both_open = threading.Barrier(2, timeout=60)
    other_ended = threading.Event()

    def work(number):
        with ap.capture(unets[number], keep=every_head) as capture:
            both_open.wait()
            outputs = [run(unets[number], 2, sizes[number]) for _ in range(3)]
            if number == last:
                assert other_ended.wait(60)
                outputs.append(run(unets[number], 2, sizes[number]))
        other_ended.set()
        together[number] = capture, outputs

    in_threads(lambda: work(0), lambda: work(1))
    for number in range(2):
        capture, outputs = together[number]
        expected, plain = alone[number]
        assert all(torch.equal(output, plain) for output in outputs)
        assert {row["calls"] for row in capture.layers} == {4 if number == last else 3}
        same_maps(capture, expected)
    assert [state(unet) for unet in unets] == before


@pytest.mark.parametrize("name", ["", MID], ids=["denoiser", "layer"])
def test_a_block_that_ends_while_another_thread_is_among_its_hooks(unet, name):
    """Torch has listed the hooks already when they are removed, and calls them all the same."""
    inside, ended = threading.Event(), threading.Event()

    def until_the_block_has_ended(module, args):
        inside.set()
        assert ended.wait(60)

    plain, outputs = run(unet), []
    thread = threading.Thread(target=lambda: outputs.append(run(unet)))
    with AttentionHooks(unet, missing="ignore"):
        module = unet.get_submodule(name)
        user = module.register_forward_pre_hook(until_the_block_has_ended, prepend=True)
        thread.start()
        assert inside.wait(60)
    ended.set()
    thread.join(60)
    user.remove()
    assert len(outputs) == 1
    assert torch.equal(outputs[0], plain)


# Offloading and compiling


def test_sequential_offload_of_accelerate(unet):
    """Weights are put in place as each module begins and taken away as it ends."""
    plain = captured(unet, lambda: run(unet), keep=every_head)
    cpu_offload(unet, execution_device=torch.device("cpu"), offload_buffers=True)
    assert next(unet.parameters()).device.type == "meta"
    same_maps(captured(unet, lambda: run(unet), keep=every_head), plain, rtol=0, atol=0)


def test_model_offload_of_accelerate(unet):
    plain = captured(unet, lambda: run(unet), keep=every_head)
    _, hook = cpu_offload_with_hook(unet, execution_device=torch.device("cpu"))
    offloaded = captured(unet, lambda: run(unet), keep=every_head)
    hook.offload()
    same_maps(offloaded, plain, rtol=0, atol=0)
    same_maps(captured(unet, lambda: run(unet), keep=every_head), plain, rtol=0, atol=0)


class Counting:
    """A compiler that runs graphs as they are, and counts how often one ran."""

    def __init__(self):
        self.graphs = self.runs = 0

    def __call__(self, graph, example_inputs):
        self.graphs += 1

        def run(*args):
            self.runs += 1
            return graph.forward(*args)

        return run


@pytest.fixture
def small():
    torch._dynamo.reset()
    yield small_unet(
        block_out_channels=(8,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
    )
    torch._dynamo.reset()


def compiled_as(how: str, unet, compiler):
    if how == "wrapped":
        return torch.compile(unet, backend=compiler)
    unet.compile(backend=compiler)
    return unet


@pytest.mark.parametrize("warm", [True, False], ids=["ran before", "first run captured"])
@pytest.mark.parametrize("how", ["wrapped", "in place"])
def test_compiled_before_the_capture(small, how, warm):
    expected = captured(small, lambda: run(small), keep=every_head)
    compiler = Counting()
    compiled = compiled_as(how, small, compiler)
    if warm:
        run(compiled)
        assert compiler.runs > 0
    graphs, runs = compiler.graphs, compiler.runs
    plain, before = run(small), state(small)
    ran = compiler.runs
    with ap.capture(compiled, keep=every_head) as capture:
        assert torch.equal(run(compiled), plain)
    assert compiler.runs == ran
    assert state(small) == before
    same_maps(capture, expected, rtol=0, atol=0)
    assert torch.equal(run(compiled), plain)
    assert compiler.runs > ran
    assert compiler.graphs >= graphs
    assert ran >= runs


@pytest.mark.parametrize("how", ["wrapped", "in place"])
def test_compiled_after_and_inside_the_capture(small, how):
    expected = captured(small, lambda: run(small), keep=every_head)
    plain, compiler = run(small), Counting()
    with ap.capture(small, keep=every_head) as capture:
        compiled = compiled_as(how, small, compiler)
        assert torch.equal(run(compiled), plain)
    assert compiler.runs == 0
    same_maps(capture, expected, rtol=0, atol=0)
    assert torch.equal(run(compiled), plain)
    runs = compiler.runs
    assert runs > 0
    graphs = compiler.graphs
    assert torch.equal(run(compiled), plain)
    assert (compiler.graphs, compiler.runs) == (graphs, 2 * runs)


def test_blocks_that_overlap_keep_compiled_models_eager_until_the_last_ends(small):
    compiler = Counting()
    compiled = compiled_as("wrapped", small, compiler)
    one, two = ap.capture(compiled), ap.capture(compiled)
    one.__enter__()
    two.__enter__()
    run(compiled)
    one.__exit__(None, None, None)
    run(compiled)
    assert compiler.runs == 0
    two.__exit__(None, None, None)
    assert {row["calls"] for row in two.layers} == {2}
    run(compiled)
    assert compiler.runs > 0


def test_a_stance_of_the_users_is_restored(small):
    with torch.compiler.set_stance("fail_on_recompile"):
        before = state(small)
        with ap.capture(small):
            run(small)
        assert state(small) == before


def test_repeated_blocks_compiled(small):
    compiler = Counting()
    expected = captured(small, lambda: run(small), keep=every_head)
    small.compile_repeated_blocks(backend=compiler)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same_maps(captured(small, lambda: run(small), keep=every_head), expected, rtol=0, atol=0)
    assert compiler.runs > 0
