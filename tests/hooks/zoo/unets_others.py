"""UNets of other families: attention whose keys are the text's and the image's, and Kandinsky 3."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import Kandinsky3UNet, UNet2DConditionModel

from .case import Case, Expected, Runs, Seen
from .unets import TEXT, WIDTH, added, cross, drawn, halved, own, text_inputs


def deepfloyd(**changes: Any) -> UNet2DConditionModel:
    config = {
        "block_out_channels": (16, 32),
        "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 8,
        "cross_attention_dim": 32,
        "norm_num_groups": 8,
        "resnet_time_scale_shift": "scale_shift",
        "cross_attention_norm": "group_norm",
        "encoder_hid_dim": WIDTH,
        "encoder_hid_dim_type": "text_proj",
        "addition_embed_type": "text",
        "addition_embed_type_num_heads": 2,
    }
    torch.manual_seed(0)
    return UNet2DConditionModel(**(config | changes)).eval()


def kandinsky21() -> UNet2DConditionModel:
    return deepfloyd(
        encoder_hid_dim_type="text_image_proj",
        addition_embed_type="text_image",
        cross_attention_norm=None,
    )


def kandinsky22() -> UNet2DConditionModel:
    return deepfloyd(
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        cross_attention_norm=None,
    )


def even_inputs() -> dict[str, Any]:
    # their upsampling only doubles, so the sides are even
    inputs = text_inputs()
    inputs["sample"] = torch.randn(2, 4, 10, 6)
    return inputs


def kandinsky21_inputs() -> dict[str, Any]:
    inputs = even_inputs()
    del inputs["encoder_attention_mask"]
    inputs["added_cond_kwargs"] = {
        "text_embeds": torch.randn(2, 32),
        "image_embeds": torch.randn(2, 32),
    }
    return inputs


def kandinsky22_inputs() -> dict[str, Any]:
    inputs = even_inputs()
    del inputs["encoder_attention_mask"]
    inputs["encoder_hidden_states"] = None
    inputs["added_cond_kwargs"] = {"image_embeds": torch.randn(2, WIDTH)}
    return inputs


def added_layers(key: Runs) -> dict[str, Expected]:
    return {
        f"{name}.attentions.{index}": added((1, 5, 3), name.split("_")[0], 4, key)
        for name, count in (("down_blocks.1", 1), ("up_blocks.0", 2), ("mid_block", 1))
        for index in range(count)
    }


def kandinsky3() -> Kandinsky3UNet:
    torch.manual_seed(0)
    return drawn(
        Kandinsky3UNet(
            block_out_channels=(8, 16, 24, 32),
            time_embedding_dim=32,
            groups=4,
            attention_head_dim=4,
            layers_per_block=2,
            cross_attention_dim=24,
            encoder_hid_dim=WIDTH,
        )
    )


def kandinsky3_inputs() -> dict[str, Any]:
    inputs = text_inputs()
    inputs["sample"] = torch.randn(2, 4, 24, 16)
    return inputs


def kandinsky3_layers() -> dict[str, Expected]:
    # time is told of the text by one token, the text's mean, that attends to the text
    pooled = Seen((("pooled", 1),), TEXT)
    layers = {"add_time_condition.attention": Expected("cross", None, 8, (pooled,))}
    grids = halved(24, 16, 4)
    for name, level, own_heads, cross_heads in (
        ("down_blocks.1", 1, 2, (4, 4)),
        ("down_blocks.2", 2, 4, (6, 6)),
        ("down_blocks.3", 3, 6, (8, 8)),
        ("up_blocks.0", 3, 6, (8, 8)),
        ("up_blocks.1", 2, 4, (12, 6)),  # the skipped channels join the first
        ("up_blocks.2", 1, 2, (8, 4)),
    ):
        block, part = name.split("_")[0], f"{name}.attentions"
        layers[f"{part}.0.attention"] = own(grids[level], block, own_heads)
        for index, heads in enumerate(cross_heads, 1):
            layers[f"{part}.{index}.attention"] = cross(grids[level], block, heads)
    return layers


CASES: tuple[Case, ...] = (
    Case("UNet2DConditionModel DeepFloyd", deepfloyd, even_inputs, added_layers(TEXT)),
    Case(
        "UNet2DConditionModel Kandinsky 2.1",
        kandinsky21,
        kandinsky21_inputs,
        added_layers((("reference", 10), *TEXT)),
    ),
    Case(
        "UNet2DConditionModel Kandinsky 2.2",
        kandinsky22,
        kandinsky22_inputs,
        added_layers((("reference", 32),)),
    ),
    Case("Kandinsky3UNet", kandinsky3, kandinsky3_inputs, kandinsky3_layers()),
)
