"""Transformers of images: Flux 2, Chroma, CogView 3 and 4, Hunyuan-DiT and Bria."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers import (
    BriaTransformer2DModel,
    ChromaTransformer2DModel,
    CogView3PlusTransformer2DModel,
    CogView4Transformer2DModel,
    Flux2Transformer2DModel,
    HunyuanDiT2DModel,
)
from diffusers.models.embeddings import get_2d_rotary_pos_embed
from diffusers.models.transformers.transformer_flux2 import (
    Flux2KVAttnProcessor,
    Flux2KVParallelSelfAttnProcessor,
)
from torch import nn

from .case import Case, Expected, Seen
from .images import GRID, HEADS, IMAGE, JOINT, TEXT, WORDS, keep, places, seeded, streams


def flux2(cached: bool = False) -> nn.Module:
    model = seeded(
        Flux2Transformer2DModel,
        **HEADS,
        in_channels=12,
        num_layers=2,
        num_single_layers=2,
        joint_attention_dim=12,
        timestep_guidance_channels=16,
        axes_dims_rope=(2, 2, 2, 2),
        guidance_embeds=not cached,
    )
    if cached:
        for block in model.transformer_blocks:
            block.attn.set_processor(Flux2KVAttnProcessor())
        for block in model.single_transformer_blocks:
            block.attn.set_processor(Flux2KVParallelSelfAttnProcessor())
    return model


def flux2_ids(*pictures: torch.Tensor) -> torch.Tensor:
    """Places in a batch of two, with a fourth number that only text tokens have."""
    ids = torch.cat(pictures).long()
    return nn.functional.pad(ids, (0, 1)).expand(2, -1, -1)


def flux2_inputs(*references: tuple[int, int, int]) -> dict[str, Any]:
    torch.manual_seed(1)
    others = [places(grid, 10 * index) for index, grid in enumerate(references, 1)]
    ids = flux2_ids(places(GRID), *others)
    return {
        "hidden_states": torch.randn(2, ids.shape[1], 12),
        "timestep": torch.tensor([0.3, 0.7]),
        "guidance": torch.tensor([3.5, 3.5]),
        "encoder_hidden_states": torch.randn(2, WORDS, 12),
        "txt_ids": nn.functional.pad(torch.arange(WORDS)[:, None], (3, 0)).expand(2, -1, -1),
        "img_ids": ids,
    }


def cached_inputs() -> dict[str, Any]:
    """The first step with a cache: the reference comes before the image, and is marked."""
    return flux2_inputs((1, 2, 4)) | {
        "guidance": None,
        "img_ids": flux2_ids(places((1, 2, 4), 10), places(GRID)),
        "kv_cache_mode": "extract",
        "num_ref_tokens": 8,
    }


STREAMS: dict[str, Any] = {
    **HEADS,
    "in_channels": 12,
    "num_layers": 2,
    "num_single_layers": 2,
    "joint_attention_dim": 12,
    "axes_dims_rope": (2, 2, 4),
}

chroma = partial(
    seeded,
    ChromaTransformer2DModel,
    **STREAMS,
    approximator_num_channels=16,
    approximator_hidden_dim=16,
    approximator_layers=2,
)


def packed_inputs() -> dict[str, Any]:
    torch.manual_seed(1)
    return {
        "hidden_states": torch.randn(2, 15, 12),
        "timestep": torch.tensor([0.3, 0.7]),
        "encoder_hidden_states": torch.randn(2, WORDS, 12),
        "txt_ids": torch.zeros(WORDS, 3),
        "img_ids": places(GRID),
    }


def chroma_inputs() -> dict[str, Any]:
    # the mask is of the whole sequence and, as in the pipeline, of the text's type
    whole = torch.cat([keep().float(), torch.ones(2, 15, dtype=torch.bool)], dim=1)
    return packed_inputs() | {"attention_mask": whole}


def bria_inputs() -> dict[str, Any]:
    return packed_inputs() | {"timestep": torch.tensor([300.0, 700.0])}


COGVIEW: dict[str, Any] = {
    **HEADS,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "text_embed_dim": 12,
    "time_embed_dim": 16,
    "condition_dim": 4,
    "pos_embed_max_size": 8,
    "sample_size": 8,
}


def cogview_inputs() -> dict[str, Any]:
    torch.manual_seed(1)
    size = torch.tensor([[80.0, 48.0]]).repeat(2, 1)
    return {
        "hidden_states": torch.randn(2, 4, 10, 6),
        "encoder_hidden_states": torch.randn(2, WORDS, 12),
        "timestep": torch.tensor([300.0, 700.0]),
        "original_size": size,
        "target_size": size,
        "crop_coords": torch.zeros(2, 2),
    }


def cogview4_inputs() -> dict[str, Any]:
    # the prompts are padded on the left
    return cogview_inputs() | {"attention_mask": keep().flip(1).float()}


COGVIEW_LAYERS = {
    f"transformer_blocks.{index}.attn1": Expected("joint", "single", 2, (JOINT,))
    for index in range(2)
}

hunyuan = partial(
    seeded,
    HunyuanDiT2DModel,
    **HEADS,
    in_channels=4,
    patch_size=2,
    sample_size=8,
    hidden_size=16,
    num_layers=4,
    cross_attention_dim=12,
    cross_attention_dim_t5=16,
    pooled_projection_dim=10,
    text_len=WORDS,
    text_len_t5=9,
)


def hunyuan_inputs() -> dict[str, Any]:
    torch.manual_seed(1)
    second = torch.ones(2, 9, dtype=torch.long)
    second[0, 4:] = 0
    return {
        "hidden_states": torch.randn(2, 4, 10, 6),
        "timestep": torch.tensor([300.0, 700.0]),
        "encoder_hidden_states": torch.randn(2, WORDS, 12),
        "text_embedding_mask": keep().long(),
        "encoder_hidden_states_t5": torch.randn(2, 9, 16),
        "text_embedding_mask_t5": second,
        "image_meta_size": torch.tensor([[80, 48, 80, 48, 0, 0]]).repeat(2, 1),
        "style": torch.zeros(2, dtype=torch.long),
        "image_rotary_emb": get_2d_rotary_pos_embed(
            8, ((0, 0), (5, 3)), (5, 3), device=torch.device("cpu"), output_type="pt"
        ),
    }


HUNYUAN = {
    f"blocks.{index}.{name}": expected
    for index in range(4)
    for name, expected in (
        ("attn1", Expected("self", None, 2, (Seen(IMAGE, query_grid=GRID),))),
        ("attn2", Expected("cross", None, 2, (Seen(IMAGE, (("text", WORDS + 9),), GRID),))),
    )
}

CASES: tuple[Case, ...] = (
    Case("Flux2Transformer2DModel", flux2, flux2_inputs, streams(JOINT)),
    Case(
        "Flux2Transformer2DModel references",
        flux2,
        partial(flux2_inputs, (1, 2, 4), (1, 3, 2)),
        streams(Seen((*TEXT, *IMAGE, ("reference", 14)), query_grid=GRID)),
    ),
    Case(
        "Flux2Transformer2DModel cache",
        partial(flux2, cached=True),
        cached_inputs,
        streams(
            Seen(TEXT + IMAGE, (*TEXT, ("reference", 8), *IMAGE), GRID, GRID),
            Seen((("reference", 8),)),
        ),
    ),
    Case("ChromaTransformer2DModel", chroma, chroma_inputs, streams(JOINT)),
    Case(
        "CogView4Transformer2DModel",
        partial(seeded, CogView4Transformer2DModel, **COGVIEW),
        cogview4_inputs,
        COGVIEW_LAYERS,
    ),
    Case(
        "CogView3PlusTransformer2DModel",
        partial(seeded, CogView3PlusTransformer2DModel, **COGVIEW),
        cogview_inputs,
        COGVIEW_LAYERS,
    ),
    Case("HunyuanDiT2DModel", hunyuan, hunyuan_inputs, HUNYUAN),
    Case(
        "BriaTransformer2DModel",
        partial(seeded, BriaTransformer2DModel, **STREAMS),
        bria_inputs,
        streams(JOINT),
    ),
)
