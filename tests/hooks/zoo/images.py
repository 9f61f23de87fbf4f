"""Transformers of images: PixArt, DiT, Stable Diffusion 3, AuraFlow and Flux."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers import (
    AuraFlowTransformer2DModel,
    DiTTransformer2DModel,
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
)
from diffusers.models.normalization import AdaLayerNormZero
from torch import nn

from .case import Case, Expected, Runs, Seen

HEADS = {"num_attention_heads": 2, "attention_head_dim": 8}
"""Two heads of eight: all transformers here are 16 wide."""

WORDS = 7
"""Text tokens: no grid has as many."""

TEXT: Runs = (("text", WORDS),)

GRID = (1, 5, 3)
IMAGE: Runs = (("image", 15),)


def seeded(kind: Callable[..., nn.Module], **config: Any) -> nn.Module:
    torch.manual_seed(0)
    return kind(**config).eval()


def keep() -> torch.Tensor:
    """The text's mask: of the second item's tokens the last three are padding."""
    mask = torch.ones(2, WORDS, dtype=torch.bool)
    mask[1, -3:] = False
    return mask


def places(grid: tuple[int, int, int], first: int = 0) -> torch.Tensor:
    """Where the tokens of a grid lie, as Flux is told: (which picture, row, column)."""
    _, height, width = grid
    sides = torch.arange(first, first + 1), torch.arange(height), torch.arange(width)
    return torch.cartesian_prod(*sides).float()


def streams(*calls: Seen) -> dict[str, Expected]:
    """Layers of two double-stream blocks and two single-stream blocks that call the same."""
    names = (("transformer_blocks", "double"), ("single_transformer_blocks", "single"))
    return {
        f"{name}.{index}.attn": Expected("joint", block, 2, calls)
        for name, block in names
        for index in range(2)
    }


def pixart() -> nn.Module:
    model = seeded(
        PixArtTransformer2DModel,
        **HEADS,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=16,
        caption_channels=12,
        sample_size=8,
    )
    # as it starts, one word is much like another
    nn.init.normal_(model.caption_projection.linear_2.weight)
    return model


def pixart_inputs() -> dict[str, Any]:
    torch.manual_seed(1)
    return {
        "hidden_states": torch.randn(2, 4, 11, 6),  # the patches leave the eleventh row out
        "encoder_hidden_states": torch.randn(2, WORDS, 12),
        "encoder_attention_mask": keep(),
        "timestep": torch.tensor([300, 700]),
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }


PIXART = {
    f"transformer_blocks.{index}.{name}": expected
    for index in range(2)
    for name, expected in (
        ("attn1", Expected("self", None, 2, (Seen(IMAGE, query_grid=GRID),))),
        ("attn2", Expected("cross", None, 2, (Seen(IMAGE, TEXT, GRID),))),
    )
}

dit = partial(
    seeded,
    DiTTransformer2DModel,
    **HEADS,
    in_channels=4,
    out_channels=8,
    num_layers=2,
    sample_size=8,
    num_embeds_ada_norm=10,
)


def dit_inputs() -> dict[str, Any]:
    # it puts its patches together as if they lay in a square, so their number is one
    torch.manual_seed(1)
    return {
        "hidden_states": torch.randn(2, 4, 4, 16),
        "timestep": torch.tensor([300, 700]),
        "class_labels": torch.tensor([3, 10]),
    }


DIT = {
    f"transformer_blocks.{index}.attn1": Expected(
        "self", None, 2, (Seen((("image", 16),), query_grid=(1, 2, 8)),)
    )
    for index in range(2)
}

sd3 = partial(
    seeded,
    SD3Transformer2DModel,
    **HEADS,
    sample_size=8,
    in_channels=4,
    out_channels=4,
    num_layers=3,
    joint_attention_dim=12,
    caption_projection_dim=16,
    pooled_projection_dim=10,
    pos_embed_max_size=6,
)


def sd3_inputs() -> dict[str, Any]:
    torch.manual_seed(1)
    return {
        "hidden_states": torch.randn(2, 4, 11, 6),  # the patches leave the eleventh row out
        "timestep": torch.tensor([300.0, 700.0]),
        "encoder_hidden_states": torch.randn(2, WORDS, 12),
        "pooled_projections": torch.randn(2, 10),
    }


def sd3_layers(dual: tuple[int, ...] = ()) -> dict[str, Expected]:
    layers = {}
    for index in range(3):
        name = f"transformer_blocks.{index}"
        seen = Seen(IMAGE + TEXT, query_grid=GRID)
        layers[f"{name}.attn"] = Expected("joint", "double", 2, (seen,))
        if index in dual:
            seen = Seen(IMAGE, query_grid=GRID)
            layers[f"{name}.attn2"] = Expected("self", "double", 2, (seen,))
    return layers


def auraflow() -> nn.Module:
    model = seeded(
        AuraFlowTransformer2DModel,
        **HEADS,
        sample_size=8,
        in_channels=4,
        num_mmdit_layers=2,
        num_single_dit_layers=2,
        joint_attention_dim=12,
        caption_projection_dim=16,
        pos_embed_max_size=36,
    )
    # as they start, the gates all but shut attention out
    for module in model.modules():
        if isinstance(module, AdaLayerNormZero):
            nn.init.normal_(module.linear.weight)
    return model


def auraflow_inputs() -> dict[str, Any]:
    torch.manual_seed(1)
    return {
        "hidden_states": torch.randn(2, 4, 10, 6),
        "encoder_hidden_states": torch.randn(2, WORDS, 12),
        "timestep": torch.tensor([0.3, 0.7]),
    }


AURAFLOW = {
    f"joint_{name}" if name.startswith("transformer") else name: expected
    for name, expected in streams(
        Seen((("register", 8), *TEXT, *IMAGE), query_grid=GRID),
    ).items()
}

flux = partial(
    seeded,
    FluxTransformer2DModel,
    **HEADS,
    in_channels=12,
    num_layers=2,
    num_single_layers=2,
    joint_attention_dim=12,
    pooled_projection_dim=10,
    guidance_embeds=True,
    axes_dims_rope=(2, 2, 4),
)


def flux_inputs(*references: tuple[int, int, int]) -> dict[str, Any]:
    torch.manual_seed(1)
    ids = torch.cat([places(GRID), *(places(grid, 1) for grid in references)])
    return {
        "hidden_states": torch.randn(2, len(ids), 12),
        "timestep": torch.tensor([0.3, 0.7]),
        "guidance": torch.tensor([3.5, 3.5]),
        "pooled_projections": torch.randn(2, 10),
        "encoder_hidden_states": torch.randn(2, WORDS, 12),
        "txt_ids": torch.zeros(WORDS, 3),
        "img_ids": ids,
    }


JOINT = Seen(TEXT + IMAGE, query_grid=GRID)

CASES: tuple[Case, ...] = (
    Case("PixArtTransformer2DModel", pixart, pixart_inputs, PIXART),
    Case("DiTTransformer2DModel", dit, dit_inputs, DIT),
    Case("SD3Transformer2DModel", sd3, sd3_inputs, sd3_layers()),
    Case(
        "SD3Transformer2DModel dual",
        partial(sd3, dual_attention_layers=(0, 1), qk_norm="rms_norm"),
        sd3_inputs,
        sd3_layers(dual=(0, 1)),
    ),
    Case("AuraFlowTransformer2DModel", auraflow, auraflow_inputs, AURAFLOW),
    Case("FluxTransformer2DModel", flux, flux_inputs, streams(JOINT)),
    Case(
        "FluxTransformer2DModel Kontext",
        flux,
        partial(flux_inputs, (1, 2, 4)),
        streams(Seen((*TEXT, *IMAGE, ("reference", 8)), query_grid=GRID)),
    ),
)
