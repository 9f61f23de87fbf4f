"""Transformers of images whose inputs come packed, padded or as lists: the first half."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    HiDreamImageTransformer2DModel,
    HunyuanImageTransformer2DModel,
    Lumina2Transformer2DModel,
    OmniGenTransformer2DModel,
    QwenImageTransformer2DModel,
)
from diffusers.models.transformers.transformer_hunyuanimage import HunyuanImageByT5TextProjection
from diffusers.pipelines.omnigen.processor_omnigen import OmniGenCollator
from torch import nn

from tests.hooks.zoo.case import Case, Expected, Runs, Seen

GRID = (1, 3, 5)
"""What a latent of 6 × 10 becomes by patches of 2 × 2."""
IMAGE = ("image", 15)
TEXT = ("text", 7)


def awake(model: nn.Module) -> nn.Module:
    """The model for inference; weights that start at zero are drawn, so that all have effect."""
    for weight in model.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=0.1)
    return model.eval()


def drawing(seed: int = 1) -> Callable[..., torch.Tensor]:
    """A source of normal numbers that leaves PyTorch's own alone."""
    return functools.partial(torch.randn, generator=torch.Generator().manual_seed(seed))


def kept(total: int, *lengths: int) -> torch.Tensor:
    """The mask of a batch whose items keep their first so many of `total` tokens."""
    return torch.arange(total) < torch.tensor(lengths)[:, None]


def every(t: float) -> torch.Tensor:
    """A batch's timesteps, as pipelines expand them."""
    return torch.full((2,), t)


def whole(*runs: tuple[str, int], grid: tuple[int, int, int] | None = GRID) -> Seen:
    """A sequence that attends to itself."""
    return Seen(runs, query_grid=grid)


def across(query: Runs, key: Runs, grid: tuple[int, int, int] = GRID) -> Seen:
    """Image tokens that attend to another sequence with no image in it."""
    return Seen(query, key, query_grid=grid)


def hunyuan_image() -> nn.Module:
    torch.manual_seed(0)
    model = HunyuanImageTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        num_single_layers=1,
        num_refiner_layers=1,
        guidance_embeds=True,
        text_embed_dim=24,
        text_embed_2_dim=12,
        rope_axes_dim=(8, 8),
    )
    # The class fixes this part's width at 2048, 4 M weights.
    model.context_embedder_2 = HunyuanImageByT5TextProjection(12, 16, 32)
    return awake(model)


def hunyuan_image_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 4, 5, 7),
        "timestep": every(600.0),
        "encoder_hidden_states": draw(2, 7, 24),
        "encoder_attention_mask": kept(7, 7, 4).long(),
        "encoder_hidden_states_2": draw(2, 6, 12),
        # A prompt without quoted words has no glyphs to encode: all of its second text is padding.
        "encoder_attention_mask_2": kept(6, 3, 0).long(),
        "guidance": every(3500.0),
    }


def hunyuan_image_layers() -> dict[str, Expected]:
    joint = whole(("image", 35), ("text", 13), grid=(1, 5, 7))
    return {
        "context_embedder.token_refiner.refiner_blocks.0.attn": Expected(
            "self", None, 2, (whole(TEXT, grid=None),)
        ),
        "transformer_blocks.0.attn": Expected("joint", "double", 2, (joint,)),
        "transformer_blocks.1.attn": Expected("joint", "double", 2, (joint,)),
        "single_transformer_blocks.0.attn": Expected("joint", "single", 2, (joint,)),
    }


def hidream() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        HiDreamImageTransformer2DModel(
            patch_size=2,
            in_channels=4,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            caption_channels=[12, 20],
            text_emb_dim=24,
            num_routed_experts=2,
            num_activated_experts=1,
            axes_dims_rope=(8, 4, 4),
            max_resolution=(12, 12),
            llama_layers=[0, 1, 1, 0],
        )
    )


def hidream_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 4, 6, 10),
        "timesteps": every(600.0),
        "encoder_hidden_states_t5": draw(2, 5, 12),
        "encoder_hidden_states_llama3": draw(2, 2, 7, 20),  # layers, batch, tokens, channels
        "pooled_embeds": draw(2, 24),
    }


def hidream_layers() -> dict[str, Expected]:
    # What is not square is padded to max_resolution's 36 patches. The text is T5's 5 tokens,
    # Llama's last layer's 7, and the 7 of Llama's layer for this block.
    joint = whole(IMAGE, ("pad", 21), ("text", 19))
    return {
        f"{block}_stream_blocks.{n}.block.attn1": Expected("joint", block, 2, (joint,))
        for block in ("double", "single")
        for n in range(2)
    }


def lumina2() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        Lumina2Transformer2DModel(
            patch_size=2,
            in_channels=4,
            hidden_size=48,
            num_layers=2,
            num_refiner_layers=1,
            num_attention_heads=4,
            num_kv_heads=2,
            multiple_of=16,
            axes_dim_rope=(4, 4, 4),
            axes_lens=(16, 16, 16),
            cap_feat_dim=24,
        )
    )


def lumina2_inputs() -> dict[str, Any]:
    draw = drawing()
    return {
        "hidden_states": draw(2, 4, 6, 10),
        "timestep": every(0.4),  # 0 is noise, 1 the image
        "encoder_hidden_states": draw(2, 7, 24),
        "encoder_attention_mask": kept(7, 7, 4).long(),
    }


def lumina2_layers() -> dict[str, Expected]:
    joint = (whole(TEXT, IMAGE), whole(("text", 4), IMAGE, ("pad", 3)))
    return {
        "noise_refiner.0.attn": Expected("self", None, 4, (whole(IMAGE),)),
        "context_refiner.0.attn": Expected("self", None, 4, (whole(TEXT, grid=None),)),
        "layers.0.attn": Expected("joint", "single", 4, (joint,)),
        "layers.1.attn": Expected("joint", "single", 4, (joint,)),
    }


def omnigen() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        OmniGenTransformer2DModel(
            in_channels=4,
            patch_size=2,
            hidden_size=32,
            num_attention_heads=2,
            num_key_value_heads=2,
            intermediate_size=64,
            num_layers=2,
            pad_token_id=0,
            vocab_size=50,
            rope_scaling={"short_factor": [1.0] * 8, "long_factor": [1.0] * 8},
            pos_embed_max_size=8,
            time_step_dim=32,
        )
    )


def omnigen_inputs() -> dict[str, Any]:
    """The first prompt names a picture of 32 × 48 pixels; the second, shorter, is padded left."""
    draw = drawing()
    words = list(range(3, 19))
    first = {
        "input_ids": words[:4] + [0] * 6 + words[4:8],
        "pixel_values": [torch.zeros(3, 32, 48)],
        "image_sizes": [[4, 10]],
    }
    second = {"input_ids": words[8:], "pixel_values": None, "image_sizes": None}
    ids, positions, mask, _, _, sizes = OmniGenCollator(hidden_size=32).process_mllm_input(
        [first, second], [[48, 80]] * 2
    )
    return {
        "hidden_states": draw(2, 4, 6, 10),
        "timestep": every(0.4),
        "input_ids": ids,
        "input_img_latents": [draw(1, 4, 4, 6)],
        "input_image_sizes": sizes,
        "attention_mask": mask,
        "position_ids": positions,
    }


def omnigen_layers() -> dict[str, Expected]:
    first = whole(("text", 4), ("reference", 6), ("text", 4), ("time", 1), IMAGE)
    second = whole(("text", 14), ("time", 1), IMAGE)
    return {
        f"layers.{n}.self_attn": Expected("joint", "single", 2, ((first, second),))
        for n in range(2)
    }


def qwen() -> nn.Module:
    torch.manual_seed(0)
    return awake(
        QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=24,
            axes_dims_rope=(4, 6, 6),
        )
    )


def qwen_inputs(*shapes: tuple[int, int, int]) -> dict[str, Any]:
    draw = drawing()
    tokens = sum(frames * height * width for frames, height, width in shapes)
    return {
        "hidden_states": draw(2, tokens, 16),  # patches of 2 × 2, packed by the pipeline
        "encoder_hidden_states": draw(2, 7, 24),
        "encoder_hidden_states_mask": kept(7, 7, 4).long(),
        "timestep": every(0.6),
        "img_shapes": [list(shapes)] * 2,
    }


def qwen_layers(*more: tuple[str, int]) -> dict[str, Expected]:
    joint = whole(TEXT, IMAGE, *more)
    return {
        f"transformer_blocks.{n}.attn": Expected("joint", "double", 2, (joint,)) for n in range(2)
    }


qwen_edit_inputs = functools.partial(qwen_inputs, GRID, (1, 2, 4))

CASES: tuple[Case, ...] = (
    Case(
        "HunyuanImageTransformer2DModel",
        hunyuan_image,
        hunyuan_image_inputs,
        hunyuan_image_layers(),
    ),
    Case("HiDreamImageTransformer2DModel", hidream, hidream_inputs, hidream_layers()),
    Case("Lumina2Transformer2DModel", lumina2, lumina2_inputs, lumina2_layers()),
    Case("OmniGenTransformer2DModel", omnigen, omnigen_inputs, omnigen_layers()),
    Case(
        "QwenImageTransformer2DModel",
        qwen,
        functools.partial(qwen_inputs, GRID),
        qwen_layers(),
    ),
    Case("QwenImageTransformer2DModel edit", qwen, qwen_edit_inputs, qwen_layers(("reference", 8))),
)
