"""Transformers of images whose inputs come packed, padded or as lists: the second half."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    Kandinsky5Transformer3DModel,
    LongCatImageTransformer2DModel,
    LuminaNextDiT2DModel,
    PRXTransformer2DModel,
    SanaTransformer2DModel,
    ZImageTransformer2DModel,
)
from diffusers.models.embeddings import get_2d_rotary_pos_embed_lumina
from torch import nn

from tests.hooks.zoo.case import Case, Expected, Seen
from tests.hooks.zoo.lists import (
    GRID,
    IMAGE,
    TEXT,
    across,
    awake,
    drawing,
    every,
    kept,
    whole,
)


def prx() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        PRXTransformer2DModel(
            in_channels=4,
            patch_size=2,
            context_in_dim=24,
            hidden_size=32,
            mlp_ratio=2.0,
            num_heads=2,
            depth=2,
            axes_dim=[8, 8],
        )
    )


def prx_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 4, 6, 10),
        "timestep": every(0.6),
        "encoder_hidden_states": draw(2, 7, 24),
        "attention_mask": kept(7, 7, 4),
    }


def prx_layers() -> dict[str, Expected]:
    call = Seen((IMAGE,), (TEXT, IMAGE), query_grid=GRID, key_grid=GRID)
    return {f"blocks.{n}.attention": Expected("joint", None, 2, (call,)) for n in range(2)}


def sana() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        SanaTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=4,
            attention_head_dim=8,
            num_layers=2,
            num_cross_attention_heads=2,
            cross_attention_head_dim=16,
            cross_attention_dim=32,
            caption_channels=24,
            sample_size=8,
            patch_size=1,
        )
    )


def sana_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 4, 5, 7),
        "encoder_hidden_states": draw(2, 9, 24),
        "timestep": every(600.0),
        "encoder_attention_mask": kept(9, 9, 4).long(),
    }


def sana_layers() -> dict[str, Expected]:
    cross = across((("image", 35),), (("text", 9),), (1, 5, 7))
    layers = {}
    for n in range(2):
        layers[f"transformer_blocks.{n}.attn1"] = Expected("self", None, 4, ())
        layers[f"transformer_blocks.{n}.attn2"] = Expected("cross", None, 2, (cross,))
    return layers


def z_image() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        ZImageTransformer2DModel(
            in_channels=4,
            dim=32,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=24,
            axes_dims=[4, 6, 6],
            axes_lens=[128, 16, 16],
        )
    )


def z_image_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "x": [draw(4, 1, 6, 10), draw(4, 1, 6, 10)],  # channels, frames, height, width
        "t": every(0.4),  # 0 is noise, 1 the image
        "cap_feats": [draw(7, 24), draw(40, 24)],
    }


def z_image_layers() -> dict[str, Expected]:
    # Image and prompt are each filled up to a multiple of 32 tokens, of which the model has learnt
    # what they are; then the shorter item is padded to the longer one.
    image = (IMAGE, ("pad", 17))
    prompts = (
        whole(TEXT, ("pad", 25 + 32), grid=None),
        whole(("text", 40), ("pad", 24), grid=None),
    )
    joint = (
        whole(*image, TEXT, ("pad", 25 + 32)),
        whole(*image, ("text", 40), ("pad", 24)),
    )
    return {
        "noise_refiner.0.attention": Expected("self", None, 2, (whole(*image),)),
        "context_refiner.0.attention": Expected("self", None, 2, (prompts,)),
        "layers.0.attention": Expected("joint", "single", 2, (joint,)),
        "layers.1.attention": Expected("joint", "single", 2, (joint,)),
    }


def lumina_next() -> nn.Module:
    torch.manual_seed(0)
    model = LuminaNextDiT2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        hidden_size=48,
        num_layers=2,
        num_attention_heads=4,
        num_kv_heads=2,
        multiple_of=16,
        cross_attention_dim=24,
    )
    nn.init.normal_(model.pad_token)  # left as memory had it, and not used
    return awake(model)


def lumina_next_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 4, 6, 10),
        "timestep": every(0.4),  # 0 is noise, 1 the image
        "encoder_hidden_states": draw(2, 7, 24),
        "encoder_mask": kept(7, 7, 4).long(),
        "image_rotary_emb": get_2d_rotary_pos_embed_lumina(12, 16, 16),
        "cross_attention_kwargs": {},
    }


def lumina_next_layers() -> dict[str, Expected]:
    layers = {}
    for n in range(2):
        layers[f"layers.{n}.attn1"] = Expected("self", None, 4, (whole(IMAGE),))
        layers[f"layers.{n}.attn2"] = Expected("cross", None, 4, (across((IMAGE,), (TEXT,)),))
    return layers


def longcat() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        LongCatImageTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=24,
            pooled_projection_dim=24,
            axes_dims_rope=[4, 6, 6],
        )
    )


def longcat_inputs() -> dict[str, Any]:
    """Ids are (modality, row, column); the image's rows and columns start behind the text."""
    draw = drawing()
    words = torch.arange(7)
    rows, columns = torch.meshgrid(torch.arange(3), torch.arange(5), indexing="ij")
    return {
        "hidden_states": draw(2, 15, 16),  # patches of 2 × 2, packed by the pipeline
        "encoder_hidden_states": draw(2, 7, 24),
        "timestep": every(0.6),
        "txt_ids": torch.stack([torch.zeros(7), words, words], dim=1),
        "img_ids": torch.stack([torch.ones(3, 5), rows + 512, columns + 512], dim=2).flatten(0, 1),
    }


def longcat_layers() -> dict[str, Expected]:
    joint = whole(TEXT, IMAGE)
    return {
        "transformer_blocks.0.attn": Expected("joint", "double", 2, (joint,)),
        "single_transformer_blocks.0.attn": Expected("joint", "single", 2, (joint,)),
    }


def kandinsky5() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        Kandinsky5Transformer3DModel(
            in_visual_dim=4,
            in_text_dim=24,
            in_text_dim2=12,
            time_dim=32,
            out_visual_dim=4,
            model_dim=32,
            ff_dim=64,
            num_text_blocks=1,
            num_visual_blocks=2,
            axes_dims=(4, 6, 6),
        )
    )


def kandinsky5_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 2, 6, 10, 4),  # batch, frames, height, width, channels
        "encoder_hidden_states": draw(2, 7, 24),
        "timestep": every(600.0),
        "pooled_projections": draw(2, 12),
        "visual_rope_pos": [torch.arange(size) for size in (2, 3, 5)],
        "text_rope_pos": torch.arange(7),
    }


def kandinsky5_layers() -> dict[str, Expected]:
    grid = (2, 3, 5)
    image = ("image", 30)
    layers = {
        "text_transformer_blocks.0.self_attention": Expected(
            "self", None, 2, (whole(TEXT, grid=None),)
        )
    }
    for n in range(2):
        name = f"visual_transformer_blocks.{n}"
        layers[f"{name}.self_attention"] = Expected("self", None, 2, (whole(image, grid=grid),))
        layers[f"{name}.cross_attention"] = Expected(
            "cross", None, 2, (Seen((image,), (TEXT,), query_grid=grid),)
        )
    return layers


CASES: tuple[Case, ...] = (
    Case("PRXTransformer2DModel", prx, prx_inputs, prx_layers()),
    Case("SanaTransformer2DModel", sana, sana_inputs, sana_layers()),
    Case("ZImageTransformer2DModel", z_image, z_image_inputs, z_image_layers()),
    Case("LuminaNextDiT2DModel", lumina_next, lumina_next_inputs, lumina_next_layers()),
    Case("LongCatImageTransformer2DModel", longcat, longcat_inputs, longcat_layers()),
    Case("Kandinsky5Transformer3DModel", kandinsky5, kandinsky5_inputs, kandinsky5_layers()),
)
