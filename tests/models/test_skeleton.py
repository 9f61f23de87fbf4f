import json
import subprocess
import sys

import pytest
import torch
from diffusers import FluxTransformer2DModel, UNet2DConditionModel

from attnprobe import AttnProbeError
from attnprobe.hooks import AttentionHooks, Layers, TextMaps, attention_layers, plan
from attnprobe.hooks.table import layer_table
from attnprobe.models.skeleton import example_inputs, skeleton


def table(model: str) -> list[dict]:
    denoiser = skeleton(model)
    return layer_table(denoiser, example_inputs(denoiser))


@pytest.mark.parametrize(
    ("preset", "parameters", "layers"),
    [
        ("sd14", 859_520_964, 32),
        ("sd21", 865_910_724, 32),
        ("sdxl", 2_567_463_684, 140),
        ("sd3", 2_028_328_000, 24),
        ("flux-dev", 11_901_408_320, 57),
        ("flux-schnell", 11_891_178_560, 57),
        ("pixart-sigma", 610_856_096, 56),
        ("qwen-image", 20_430_401_088, 60),
    ],
)
def test_presets_are_the_published_architectures(preset, parameters, layers):
    """The numbers of parameters are those of the published weights."""
    denoiser = skeleton(preset)
    assert sum(p.numel() for p in denoiser.parameters()) == parameters
    assert {p.device.type for p in denoiser.parameters()} == {"meta"}
    assert len(attention_layers(denoiser)) == layers


def test_ssd1b_has_the_published_depths():
    """Transformers of each attention, down and up, as the distilled model is described."""
    unet = skeleton("ssd1b")
    depths = [
        [len(each.transformer_blocks) for each in getattr(block, "attentions", ())]
        for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks)
    ]
    assert depths == [[], [2, 2], [4, 4], [], [4, 4, 10], [2, 1, 1], []]
    assert len(unet.mid_block.resnets) == 1
    assert 1.3e9 <= sum(p.numel() for p in unet.parameters()) < 1.35e9


@pytest.mark.parametrize(
    ("preset", "tokens", "text"), [("sd3", 4096, 333), ("flux-dev", 4096, 512)]
)
def test_captures_of_transformers_are_planned_without_weights(preset, tokens, text):
    denoiser = skeleton(preset)
    inputs = example_inputs(denoiser)
    assert plan(denoiser, inputs, Layers(index=9)).total == (tokens + text) ** 2 * 4
    if preset == "sd3":  # Flux tells where its tokens lie by numbers, of which meta has none
        assert plan(denoiser, inputs, Layers(index=9), TextMaps()).total == tokens * text * 4
    less = example_inputs(denoiser, side=64, text_tokens=77)
    texts = 77 if preset == "flux-dev" else 77 + 77
    assert plan(denoiser, less, Layers(index=9)).total == (tokens // 4 + texts) ** 2 * 4


def test_sd14s_table():
    rows = table("sd14")
    own = [row for row in rows if row["kind"] == "self"]
    assert [tuple(row["grid"]) for row in own].count((64, 64)) == 5
    assert own[0] == {
        "name": "down_blocks.0.attentions.0.transformer_blocks.0.attn1",
        "index": 0,
        "kind": "self",
        "block": "down",
        "heads": 8,
        "grid": [64, 64],
        "bytes": 4096 * 4096 * 4,
        "mute": "",
    }


def test_the_table_is_what_a_real_pass_shows(tiny):
    seen = {}
    hooks = AttentionHooks(tiny.denoiser)
    hooks.add(lambda call: seen.update({call.name: (call.kind, call.heads, call.query_grid)}))
    words = torch.zeros(1, 77, tiny.denoiser.config.cross_attention_dim)
    with torch.no_grad(), hooks:
        tiny.denoiser(torch.zeros(1, 4, 32, 32), 60, words)
    rows = {r["name"]: (r["kind"], r["heads"], (1, *r["grid"])) for r in table("tiny")}
    assert rows == seen


def test_a_pipelines_folder_with_a_transformer(tmp_path):
    config = {
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "in_channels": 12,
        "num_layers": 1,
        "num_single_layers": 1,
        "joint_attention_dim": 12,
        "pooled_projection_dim": 10,
        "axes_dims_rope": (2, 2, 4),
    }
    FluxTransformer2DModel(**config).save_config(tmp_path / "transformer")
    (tmp_path / "model_index.json").write_text("{}")
    for place in (tmp_path, tmp_path / "transformer"):
        rows = table(str(place))
        assert [(row["kind"], row["block"], row["grid"]) for row in rows] == [
            ("joint", "double", None),
            ("joint", "single", None),
        ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no model_index.json"),
        ({"model_index.json": "{}"}, "neither a unet nor a transformer"),
        ({"config.json": "[1]"}, "is no config"),
        ({"config.json": "{"}, "can't be read as a config"),
        ({"config.json": '{"_class_name": "DDIMScheduler"}'}, "no denoiser of the class"),
        ({"config.json": '{"_class_name": "Nothing"}'}, "no denoiser of the class 'Nothing'"),
        (
            {"config.json": '{"_class_name": "UNet2DModel", "down_block_types": ["x"]}'},
            "doesn't make a UNet2DModel",
        ),
    ],
)
def test_what_is_no_denoiser(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(AttnProbeError, match=message):
        skeleton(str(tmp_path))


def test_unets_of_their_own_size_only():
    odd = UNet2DConditionModel.from_config(
        skeleton("tiny").config, sample_size=(16, 24), low_cpu_mem_usage=False
    )
    inputs = example_inputs(odd)
    assert inputs is not None
    assert inputs["sample"].shape == (1, 4, 16, 24)


def test_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "attnprobe", "layers", "tiny", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(done.stdout)
    assert len(rows) == 20
    assert rows[0]["grid"] == [32, 32]
