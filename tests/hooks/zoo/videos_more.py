"""Transformers of videos: Allegro, Latte, Cosmos, EasyAnimate, SkyReels."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AllegroTransformer3DModel,
    CosmosTransformer3DModel,
    EasyAnimateTransformer3DModel,
    LatteTransformer3DModel,
    SkyReelsV2Transformer3DModel,
)
from diffusers.models.embeddings import get_3d_rotary_pos_embed_allegro
from torch import nn

from tests.hooks.zoo.case import Case, Expected
from tests.hooks.zoo.lists import IMAGE, TEXT, across, awake, drawing, every, kept, whole
from tests.hooks.zoo.videos import GRID, VIDEO


def allegro() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        AllegroTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            num_layers=2,
            cross_attention_dim=24,
            sample_height=8,
            sample_width=8,
            sample_frames=4,
            caption_channels=20,
        )
    )


def allegro_inputs() -> dict[str, Any]:
    draw = drawing()
    *freqs, frames, rows, columns = get_3d_rotary_pos_embed_allegro(12, ((0, 0), (3, 5)), (3, 5), 3)
    places = torch.cartesian_prod(frames.long(), rows.long(), columns.long())
    return {
        "hidden_states": draw(2, 4, 3, 6, 10),
        "encoder_hidden_states": draw(2, 7, 20),
        "timestep": torch.full((2,), 600),
        "encoder_attention_mask": kept(7, 7, 4).long(),
        "image_rotary_emb": (tuple(freqs), tuple(places.T[:, None].contiguous())),
    }


def self_and_cross(prefix: str, frames: int = 3) -> dict[str, Expected]:
    """Two blocks of attn1 over the video and attn2 from it to the text."""
    video, grid = ("image", frames * 15), (frames, 3, 5)
    layers = {}
    for n in range(2):
        layers[f"{prefix}.{n}.attn1"] = Expected("self", None, 2, (whole(video, grid=grid),))
        layers[f"{prefix}.{n}.attn2"] = Expected(
            "cross", None, 2, (across((video,), (TEXT,), grid),)
        )
    return layers


def latte() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        LatteTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=4,
            out_channels=8,
            num_layers=2,
            cross_attention_dim=16,
            attention_bias=True,
            sample_size=8,
            patch_size=2,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            caption_channels=20,
            video_length=3,
        )
    )


def latte_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 4, 3, 6, 10),
        "timestep": torch.full((2,), 600),
        "encoder_hidden_states": draw(2, 7, 20),
    }


def latte_layers() -> dict[str, Expected]:
    # Spatial blocks see a frame at a time, their batch is items × frames; temporal blocks see
    # a place at a time, their batch is items × places.
    spatial = {}
    temporal = {}
    for n in range(2):
        name = f"transformer_blocks.{n}"
        spatial[f"{name}.attn1"] = Expected("self", None, 2, (whole(IMAGE),))
        spatial[f"{name}.attn2"] = Expected("cross", None, 2, (across((IMAGE,), (TEXT,)),))
        temporal[f"temporal_{name}.attn1"] = Expected(
            "temporal", None, 2, (whole(("image", 3), grid=(3, 1, 1)),)
        )
    return spatial | temporal


def cosmos() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        CosmosTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=2,
            text_embed_dim=24,
            adaln_lora_dim=8,
            max_size=(4, 12, 12),
            concat_padding_mask=False,  # the mask of pixels wants torchvision
        )
    )


def cosmos_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 4, 3, 6, 10),
        "timestep": every(0.6),
        "encoder_hidden_states": draw(2, 7, 24),
        "attention_mask": kept(7, 7, 4),
        "fps": 30,
    }


def easyanimate() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        EasyAnimateTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=4,
            out_channels=4,
            patch_size=2,
            num_layers=2,
            mmdit_layers=1,
            time_embed_dim=16,
            text_embed_dim=24,
        )
    )


def easyanimate_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 4, 3, 6, 10),
        "timestep": every(600.0),
        "encoder_hidden_states": draw(2, 7, 24),
    }


def easyanimate_layers() -> dict[str, Expected]:
    # Both stand in transformer_blocks; the first has weights of its own for the text.
    joint = whole(TEXT, VIDEO, grid=GRID)
    return {
        "transformer_blocks.0.attn1": Expected("joint", "double", 2, (joint,)),
        "transformer_blocks.1.attn1": Expected("joint", "single", 2, (joint,)),
    }


def skyreels() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        SkyReelsV2Transformer3DModel(
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            text_dim=24,
            freq_dim=32,
            ffn_dim=48,
            num_layers=2,
            rope_max_seq_len=32,
            num_frame_per_block=2,
        )
    )


def skyreels_inputs() -> dict[str, Any]:
    """As diffusion forcing runs it: each frame at a time of its own, attention causal in blocks."""
    draw = drawing()
    return {
        "hidden_states": draw(2, 4, 4, 6, 10),
        "timestep": torch.tensor([[200.0, 200.0, 600.0, 600.0]] * 2),
        "encoder_hidden_states": draw(2, 7, 24),
        "enable_diffusion_forcing": True,
        "fps": [0, 0],
    }


CASES: tuple[Case, ...] = (
    Case(
        "AllegroTransformer3DModel",
        allegro,
        allegro_inputs,
        self_and_cross("transformer_blocks"),
    ),
    Case("LatteTransformer3DModel", latte, latte_inputs, latte_layers()),
    Case("CosmosTransformer3DModel", cosmos, cosmos_inputs, self_and_cross("transformer_blocks")),
    Case(
        "EasyAnimateTransformer3DModel",
        easyanimate,
        easyanimate_inputs,
        easyanimate_layers(),
    ),
    Case(
        "SkyReelsV2Transformer3DModel",
        skyreels,
        skyreels_inputs,
        self_and_cross("blocks", 4),
    ),
)
