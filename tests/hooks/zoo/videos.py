"""Transformers of videos: Wan, LTX, CogVideoX, HunyuanVideo, Mochi."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    CogVideoXTransformer3DModel,
    HunyuanVideoTransformer3DModel,
    LTXVideoTransformer3DModel,
    MochiTransformer3DModel,
    WanTransformer3DModel,
)
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from torch import nn

from tests.hooks.zoo.case import Case, Expected, Seen
from tests.hooks.zoo.lists import TEXT, across, awake, drawing, every, kept, whole

GRID = (3, 3, 5)
"""What three frames of 6 × 10 become by patches of 1 × 2 × 2."""
VIDEO = ("image", 45)


def wan(**config: Any) -> nn.Module:
    torch.manual_seed(0)
    return awake(
        WanTransformer3DModel(
            **{
                "num_attention_heads": 2,
                "attention_head_dim": 12,
                "in_channels": 4,
                "out_channels": 4,
                "text_dim": 24,
                "freq_dim": 32,
                "ffn_dim": 48,
                "num_layers": 2,
                "rope_max_seq_len": 32,
                **config,
            }
        )
    )


def wan_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 4, 3, 7, 11),  # the row and column over are dropped
        "timestep": every(600.0),
        "encoder_hidden_states": draw(2, 7, 24),
    }


def wan_image() -> nn.Module:
    """Beside the text it attends to a picture's features, and its latent has the picture's too."""
    return wan(in_channels=12, image_dim=20, added_kv_proj_dim=24)


def wan_image_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 12, 3, 6, 10),
        "timestep": every(600.0),
        "encoder_hidden_states": draw(2, 512, 24),  # the processor takes the last 512 for text
        "encoder_hidden_states_image": draw(2, 9, 20),
    }


def wan_layers(*keys: tuple[str, int]) -> dict[str, Expected]:
    layers = {}
    for n in range(2):
        layers[f"blocks.{n}.attn1"] = Expected("self", None, 2, (whole(VIDEO, grid=GRID),))
        layers[f"blocks.{n}.attn2"] = Expected(
            "cross", None, 2, tuple(across((VIDEO,), (key,), GRID) for key in keys)
        )
    return layers


def ltx() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        LTXVideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=12,
            cross_attention_dim=24,
            num_layers=2,
            caption_channels=20,
        )
    )


def ltx_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 45, 4),
        "encoder_hidden_states": draw(2, 7, 20),
        "timestep": every(600.0),
        "encoder_attention_mask": kept(7, 7, 4).long(),
        "num_frames": 3,
        "height": 3,
        "width": 5,
        "rope_interpolation_scale": (8 / 25, 32, 32),
    }


def ltx_layers() -> dict[str, Expected]:
    layers = {}
    for n in range(2):
        name = f"transformer_blocks.{n}"
        layers[f"{name}.attn1"] = Expected("self", None, 2, (whole(VIDEO, grid=GRID),))
        layers[f"{name}.attn2"] = Expected("cross", None, 2, (across((VIDEO,), (TEXT,), GRID),))
    return layers


def cogvideox(**config: Any) -> nn.Module:
    torch.manual_seed(0)
    return awake(
        CogVideoXTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=4,
            out_channels=4,
            time_embed_dim=16,
            text_embed_dim=24,
            num_layers=2,
            sample_width=10,
            sample_height=6,
            sample_frames=9,
            max_text_seq_length=7,
            **config,
        )
    )


def cogvideox_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 3, 4, 6, 10),  # batch, frames, channels, height, width
        "encoder_hidden_states": draw(2, 7, 24),
        "timestep": torch.full((2,), 600),
    }


def cogvideox15() -> nn.Module:
    return cogvideox(
        use_rotary_positional_embeddings=True, patch_size_t=2, ofs_embed_dim=16, patch_bias=False
    )


def cogvideox15_inputs() -> dict[str, Any]:
    """As version 1.5 for images to video: patches of two frames."""
    draw = drawing()
    return {
        "hidden_states": draw(2, 4, 4, 6, 10),
        "encoder_hidden_states": draw(2, 7, 24),
        "timestep": torch.full((2,), 600),
        "ofs": torch.full((1,), 2.0),
        "image_rotary_emb": get_3d_rotary_pos_embed(
            16, None, (3, 5), 2, grid_type="slice", max_size=(3, 5)
        ),
    }


def cogvideox_layers(frames: int) -> dict[str, Expected]:
    joint = whole(TEXT, ("image", frames * 15), grid=(frames, 3, 5))
    return {
        f"transformer_blocks.{n}.attn1": Expected("joint", "single", 2, (joint,)) for n in range(2)
    }


def hunyuan_video() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        HunyuanVideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=2,
            num_single_layers=1,
            num_refiner_layers=1,
            text_embed_dim=24,
            pooled_projection_dim=12,
            rope_axes_dim=(4, 6, 6),
        )
    )


def hunyuan_video_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 4, 3, 6, 10),
        "timestep": every(600.0),
        "encoder_hidden_states": draw(2, 7, 24),
        "encoder_attention_mask": kept(7, 7, 4).long(),
        "pooled_projections": draw(2, 12),
        "guidance": every(6000.0),
    }


def hunyuan_video_layers() -> dict[str, Expected]:
    joint = whole(VIDEO, TEXT, grid=GRID)
    return {
        "context_embedder.token_refiner.refiner_blocks.0.attn": Expected(
            "self", None, 2, (whole(TEXT, grid=None),)
        ),
        "transformer_blocks.0.attn": Expected("joint", "double", 2, (joint,)),
        "transformer_blocks.1.attn": Expected("joint", "double", 2, (joint,)),
        "single_transformer_blocks.0.attn": Expected("joint", "single", 2, (joint,)),
    }


def mochi() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        MochiTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=2,
            pooled_projection_dim=20,
            in_channels=4,
            text_embed_dim=24,
            time_embed_dim=32,
            max_sequence_length=7,
        )
    )


def mochi_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 4, 3, 6, 10),
        "encoder_hidden_states": draw(2, 7, 24),
        "timestep": every(600.0),
        "encoder_attention_mask": kept(7, 7, 4),
    }


def mochi_layers() -> dict[str, Expected]:
    # The processor calls attention item by item, each time with a batch of one, and leaves out
    # the padding of the item's text.
    calls: tuple[Seen, ...] = tuple(whole(VIDEO, ("text", words), grid=GRID) for words in (7, 4))
    return {
        f"transformer_blocks.{n}.attn1": Expected("joint", "double", 2, calls) for n in range(2)
    }


CASES: tuple[Case, ...] = (
    Case("WanTransformer3DModel", wan, wan_inputs, wan_layers(TEXT)),
    Case(
        "WanTransformer3DModel image",
        wan_image,
        wan_image_inputs,
        wan_layers(("reference", 9), ("text", 512)),
    ),
    Case("LTXVideoTransformer3DModel", ltx, ltx_inputs, ltx_layers()),
    Case("CogVideoXTransformer3DModel", cogvideox, cogvideox_inputs, cogvideox_layers(3)),
    Case("CogVideoXTransformer3DModel 1.5", cogvideox15, cogvideox15_inputs, cogvideox_layers(2)),
    Case(
        "HunyuanVideoTransformer3DModel",
        hunyuan_video,
        hunyuan_video_inputs,
        hunyuan_video_layers(),
    ),
    Case("MochiTransformer3DModel", mochi, mochi_inputs, mochi_layers()),
)
