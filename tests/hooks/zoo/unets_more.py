"""UNets of videos, and of images with a control."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    ControlNetModel,
    UNet2DConditionModel,
    UNet3DConditionModel,
    UNetControlNetXSModel,
    UNetMotionModel,
    UNetSpatioTemporalConditionModel,
)

from .case import Case, Expected, Seen
from .unets import WIDTH, WORDS, drawn, halved, transformer, transformers

FRAMES = 4
CUT = (("image", FRAMES),)
"""Tokens of one place in all frames."""

ODD = halved(9, 6, 2)
EVEN = halved(8, 6, 2)


def over_frames(block: str | None, heads: int) -> Expected:
    return Expected("temporal", block, heads, (Seen(CUT, query_grid=(FRAMES, 1, 1)),))


def twice_over_frames(name: str, block: str | None, heads: int) -> dict[str, Expected]:
    """Layers of a temporal transformer: both look at the frames, none at the text."""
    first, second = (f"{name}.transformer_blocks.0.{layer}" for layer in ("attn1", "attn2"))
    return {first: over_frames(block, heads), second: over_frames(block, heads)}


def motion() -> UNetMotionModel:
    torch.manual_seed(0)
    return UNetMotionModel(
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        norm_num_groups=8,
        num_attention_heads=2,
        motion_num_attention_heads=4,
    ).eval()


def motion_inputs() -> dict[str, Any]:
    torch.manual_seed(1)
    words = torch.randn(2, WORDS, WIDTH)
    return {
        "sample": torch.randn(2, 4, FRAMES, 9, 6),
        "timestep": torch.tensor(300),
        "encoder_hidden_states": words.repeat_interleave(FRAMES, dim=0),  # one text a frame
    }


def motion_layers() -> dict[str, Expected]:
    layers = {}
    for name, spatial, temporal, level in (
        ("down_blocks.0", 1, 1, 0),
        ("down_blocks.1", 0, 1, 1),
        ("up_blocks.0", 0, 2, 1),
        ("up_blocks.1", 2, 2, 0),
        ("mid_block", 1, 1, 1),
    ):
        block = name.split("_")[0]
        for index in range(spatial):
            layers |= transformer(f"{name}.attentions.{index}", ODD[level], block, heads=2)
        for index in range(temporal):
            layers |= twice_over_frames(f"{name}.motion_modules.{index}", block, heads=4)
    return layers


def volume() -> UNet3DConditionModel:
    torch.manual_seed(0)
    return drawn(
        UNet3DConditionModel(
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            layers_per_block=1,
            cross_attention_dim=WIDTH,
            norm_num_groups=8,
            attention_head_dim=4,
        )
    )


def volume_inputs() -> dict[str, Any]:
    torch.manual_seed(1)
    return {
        "sample": torch.randn(2, 4, FRAMES, 9, 6),
        "timestep": torch.tensor(300),
        "encoder_hidden_states": torch.randn(2, WORDS, WIDTH),
    }


def volume_layers() -> dict[str, Expected]:
    layers = twice_over_frames("transformer_in", None, heads=8)
    for name, count, level, heads in (
        ("down_blocks.0", 1, 0, 4),
        ("up_blocks.1", 2, 0, 4),
        ("mid_block", 1, 1, 8),
    ):
        block = name.split("_")[0]
        for index in range(count):
            layers |= transformer(f"{name}.attentions.{index}", ODD[level], block, heads)
        for index in range(count):
            layers |= twice_over_frames(f"{name}.temp_attentions.{index}", block, heads)
    return layers


def svd() -> UNetSpatioTemporalConditionModel:
    torch.manual_seed(0)
    return UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        num_attention_heads=(2, 4),
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=3 * 8,
    ).eval()


def svd_inputs() -> dict[str, Any]:
    torch.manual_seed(1)
    return {
        "sample": torch.randn(2, FRAMES, 8, 9, 6),
        "timestep": torch.tensor(1.2),
        "encoder_hidden_states": torch.randn(2, 1, WIDTH),  # an embedding of the first frame
        "added_time_ids": torch.tensor([[6.0, 127.0, 0.02]]).repeat(2, 1),
    }


def svd_layers() -> dict[str, Expected]:
    layers = {}
    frame = (("reference", 1),)
    for name, count, level, heads in (
        ("down_blocks.0", 1, 0, 2),
        ("up_blocks.1", 2, 0, 2),
        ("mid_block", 1, 1, 4),
    ):
        block = name.split("_")[0]
        for index in range(count):
            part = f"{name}.attentions.{index}"
            layers |= transformer(part, ODD[level], block, heads, key=frame)
            part += ".temporal_transformer_blocks.0"
            layers[f"{part}.attn1"] = over_frames(block, heads)
            seen = Seen(CUT, frame, (FRAMES, 1, 1))
            layers[f"{part}.attn2"] = Expected("cross", block, heads, (seen,))
    return layers


SMALL: dict[str, Any] = {
    "block_out_channels": (16, 32),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "cross_attention_dim": WIDTH,
    "norm_num_groups": 8,
}
UP = ("UpBlock2D", "CrossAttnUpBlock2D")


def controlled() -> UNetControlNetXSModel:
    torch.manual_seed(0)
    return drawn(
        UNetControlNetXSModel(
            up_block_types=UP,
            num_attention_heads=(4, 8),
            ctrl_block_out_channels=(8, 16),
            ctrl_num_attention_heads=2,
            ctrl_conditioning_embedding_out_channels=(8, 16),
            ctrl_max_norm_num_groups=8,
            **SMALL,
        )
    )


def control_inputs() -> dict[str, Any]:
    torch.manual_seed(1)
    return {
        "sample": torch.randn(2, 4, 8, 6),
        "timestep": torch.tensor(300),
        "encoder_hidden_states": torch.randn(2, WORDS, WIDTH),
        "controlnet_cond": torch.randn(2, 3, 16, 12),
    }


def controlled_layers() -> dict[str, Expected]:
    layers = {}
    for name, attentions, count, level, heads in (
        ("mid_block", "base_midblock.attentions", 1, 1, 8),
        ("mid_block", "ctrl_midblock.attentions", 1, 1, 2),
        ("down_blocks.0", "base_attentions", 2, 0, 4),
        ("down_blocks.0", "ctrl_attentions", 2, 0, 2),
        ("up_blocks.1", "attentions", 3, 0, 4),
    ):
        for index in range(count):
            part = f"{name}.{attentions}.{index}"
            layers |= transformer(part, EVEN[level], name.split("_")[0], heads)
    return layers


def controlnet() -> ControlNetModel:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        up_block_types=UP, layers_per_block=1, attention_head_dim=(4, 8), **SMALL
    )
    return drawn(ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16)))


CONTROLNET = transformers((("down_blocks.0", 1, 0, 4, 1), ("mid_block", 1, 1, 8, 1)), EVEN)


CASES: tuple[Case, ...] = (
    Case("UNetMotionModel", motion, motion_inputs, motion_layers()),
    Case("UNet3DConditionModel", volume, volume_inputs, volume_layers()),
    Case("UNetSpatioTemporalConditionModel", svd, svd_inputs, svd_layers()),
    Case("UNetControlNetXSModel", controlled, control_inputs, controlled_layers()),
    Case("ControlNetModel", controlnet, control_inputs, CONTROLNET),
)
