"""UNets as people run them: adapters, fused projections, batches, precisions, training."""

import pytest
import torch
from diffusers.models.attention_processor import (
    AttnProcessor,
    IPAdapterAttnProcessor,
)
from peft import LoraConfig

import attnprobe as ap
from attnprobe.hooks import AttentionHooks, Keep, attention_layers
from tests.conftest import small_unet
from tests.hooks.small import (
    CROSS,
    MID,
    by_processor,
    captured,
    eager,
    every_head,
    inputs,
    layer_names,
    run,
    same_maps,
    state,
)


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
        for name, module in unet.named_modules():  # checkpoints go by the order of modules
            if name.endswith("attn2"):
                width = module.inner_dim
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
    assert grids == [size, half, half, half, half, size, size]
    for row, field in zip(capture.layers, capture.fields(), strict=True):
        tokens = row["grid"][0] * row["grid"][1]
        assert field.rows.shape == (tokens, tokens)
        assert field.grid == row["grid"]


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
        twice.new_step()
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
