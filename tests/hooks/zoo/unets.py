"""UNets of images as Stable Diffusion shapes them, and the parts their truth is made of."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

import torch
from diffusers import UNet2DConditionModel, UNet2DModel

from .case import Case, Expected, Runs, Seen

Grid = tuple[int, int, int]

WIDTH = 16
"""Width of the text's embeddings."""

WORDS = 7
"""Text tokens: no grid has as many."""

TEXT: Runs = (("text", WORDS),)


def halved(height: int, width: int, levels: int) -> list[Grid]:
    """Grids of a UNet's levels: each downsampling halves a side and rounds up."""
    grids = [(1, height, width)]
    for _ in range(levels - 1):
        height, width = -(-height // 2), -(-width // 2)
        grids.append((1, height, width))
    return grids


def image(grid: Grid) -> Runs:
    return (("image", prod(grid)),)


def own(grid: Grid, block: str | None, heads: int) -> Expected:
    """Self-attention over the image tokens of one grid."""
    return Expected("self", block, heads, (Seen(image(grid), query_grid=grid),))


def cross(grid: Grid, block: str | None, heads: int, key: Runs = TEXT) -> Expected:
    """Image tokens attend to others."""
    return Expected("cross", block, heads, (Seen(image(grid), key, grid),))


def added(grid: Grid, block: str | None, heads: int, key: Runs = TEXT) -> Expected:
    """Image tokens attend to others and, after those, to themselves."""
    return Expected("joint", block, heads, (Seen(image(grid), key + image(grid), grid, grid),))


def transformer(
    name: str, grid: Grid, block: str | None, heads: int, depth: int = 1, key: Runs = TEXT
) -> dict[str, Expected]:
    """Layers of a `Transformer2DModel`."""
    layers = {}
    for index in range(depth):
        layers[f"{name}.transformer_blocks.{index}.attn1"] = own(grid, block, heads)
        layers[f"{name}.transformer_blocks.{index}.attn2"] = cross(grid, block, heads, key)
    return layers


def transformers(
    stages: Iterable[tuple[str, int, int, int, int]], grids: list[Grid]
) -> dict[str, Expected]:
    """Layers of stages, each its name, how many attentions, level, heads, and their depth."""
    layers = {}
    for name, count, level, heads, depth in stages:
        block = name.split("_")[0]
        for index in range(count):
            layers |= transformer(f"{name}.attentions.{index}", grids[level], block, heads, depth)
    return layers


def keep() -> torch.Tensor:
    """The text's mask: of the second item's tokens the last three are padding."""
    mask = torch.ones(2, WORDS, dtype=torch.bool)
    mask[1, -3:] = False
    return mask


def drawn(model: torch.nn.Module) -> torch.nn.Module:
    """The model with a small normal draw wherever a weight is all zero."""
    with torch.no_grad():
        for weight in model.parameters():
            if not weight.any():
                weight.normal_(std=0.1)
    return model.eval()


GRIDS = halved(9, 6, 3)
"""(9, 6), (5, 3) and (3, 2)."""


def text_inputs() -> dict[str, Any]:
    torch.manual_seed(1)
    return {
        "sample": torch.randn(2, 4, 9, 6),
        "timestep": torch.tensor(300),
        "encoder_hidden_states": torch.randn(2, WORDS, WIDTH),
        "encoder_attention_mask": keep(),
    }


def plain() -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        in_channels=3,
        out_channels=3,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=8,
        norm_num_groups=8,
    ).eval()


def plain_inputs() -> dict[str, Any]:
    # its upsampling only doubles, so the sides are even
    torch.manual_seed(1)
    return {"sample": torch.randn(2, 3, 10, 6), "timestep": torch.tensor([300, 700])}


PLAIN = {
    f"{name}.attentions.{index}": own((1, 5, 3), name.split("_")[0], heads=4)
    for name, count in (("down_blocks.1", 1), ("up_blocks.0", 2), ("mid_block", 1))
    for index in range(count)
}


def sd1() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=(16, 32, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=WIDTH,
        norm_num_groups=8,
    ).eval()


SD1 = transformers(
    (
        ("down_blocks.0", 1, 0, 2, 1),
        ("down_blocks.1", 1, 1, 2, 1),
        ("up_blocks.1", 2, 1, 2, 1),
        ("up_blocks.2", 2, 0, 2, 1),
        ("mid_block", 1, 2, 2, 1),
    ),
    GRIDS,
)


def sd2() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=(2, 4),
        cross_attention_dim=WIDTH,
        norm_num_groups=8,
        use_linear_projection=True,
    ).eval()


SD2 = transformers(
    (
        ("down_blocks.0", 1, 0, 2, 1),
        ("up_blocks.1", 2, 0, 2, 1),
        ("mid_block", 1, 1, 4, 1),
    ),
    GRIDS,
)


def sdxl() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=(16, 32, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 2, 3),
        attention_head_dim=(2, 4, 8),
        cross_attention_dim=WIDTH,
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTH,
    ).eval()


def sdxl_inputs() -> dict[str, Any]:
    inputs = text_inputs()
    sizes = torch.tensor([[72.0, 48.0, 0.0, 0.0, 72.0, 48.0]])
    inputs["added_cond_kwargs"] = {
        "text_embeds": torch.randn(2, WIDTH),
        "time_ids": sizes.repeat(2, 1),
    }
    return inputs


SDXL = transformers(
    (
        ("down_blocks.1", 1, 1, 4, 2),
        ("down_blocks.2", 1, 2, 8, 3),
        ("up_blocks.0", 2, 2, 8, 3),
        ("up_blocks.1", 2, 1, 4, 2),
        ("mid_block", 1, 2, 8, 3),
    ),
    GRIDS,
)

CASES: tuple[Case, ...] = (
    Case("UNet2DModel", plain, plain_inputs, PLAIN),
    Case("UNet2DConditionModel SD1", sd1, text_inputs, SD1),
    Case("UNet2DConditionModel SD2", sd2, text_inputs, SD2),
    Case("UNet2DConditionModel SDXL", sdxl, sdxl_inputs, SDXL),
)
