"""Pipelines of random weights, small, given their texts as embeddings: positive and negative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers as D
import torch

SIZE = {"num_inference_steps": 2, "output_type": "latent", "height": 32, "width": 32}

Built = tuple[torch.nn.Module, Callable[..., Any]]
"""The denoiser, and the call that draws with guidance."""


def vae(channels: int = 4) -> D.AutoencoderKL:
    return D.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=channels,
        shift_factor=0.1,
    )


def texts(*names: str) -> dict[str, torch.Tensor]:
    """Embeddings whose numbers are positive, and negative in the negative prompt's."""
    given = {}
    for name in names:
        shape = (1, 8) if "pooled" in name or "image" in name else (1, 6, 8)
        given[name] = torch.rand(shape) + 0.1
        given[f"negative_{name}"] = -given[name]
    return given


def masks(*names: str, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    names = tuple(f"{sign}{name}" for name in names for sign in ("", "negative_"))
    return {name: torch.ones(1, 6, dtype=dtype) for name in names}


def built(cls: Any, denoiser: torch.nn.Module, given: dict[str, Any], **parts: Any) -> Built:
    name = "unet" if isinstance(denoiser, D.UNet2DConditionModel) else "transformer"
    encoders = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    encoders += ("text_encoder_3", "tokenizer_3", "safety_checker", "feature_extractor")
    taken = cls.__init__.__annotations__
    parts |= {one: None for one in encoders if one in taken}
    pipe = cls(**{name: denoiser.eval()}, **parts)
    pipe.set_progress_bar_config(disable=True)
    return denoiser, lambda **more: pipe(**given, **(SIZE | more))


def flow() -> D.FlowMatchEulerDiscreteScheduler:
    return D.FlowMatchEulerDiscreteScheduler()


def sdxl() -> Built:
    unet = D.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
        cross_attention_dim=8,
        norm_num_groups=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=32,
    )
    given = texts("prompt_embeds", "pooled_prompt_embeds") | {"guidance_scale": 4.0}
    scheduler = D.EulerDiscreteScheduler()
    return built(D.StableDiffusionXLPipeline, unet, given, vae=vae(), scheduler=scheduler)


def sd3() -> Built:
    transformer = D.SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=8,
        caption_projection_dim=16,
        pooled_projection_dim=8,
        out_channels=4,
    )
    given = texts("prompt_embeds", "pooled_prompt_embeds") | {"guidance_scale": 4.0}
    return built(D.StableDiffusion3Pipeline, transformer, given, vae=vae(), scheduler=flow())


def pixart() -> Built:
    transformer = D.PixArtTransformer2DModel(
        sample_size=8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_channels=8,
        in_channels=4,
        cross_attention_dim=16,
        out_channels=8,
        use_additional_conditions=False,
    )
    given = texts("prompt_embeds") | masks("prompt_attention_mask", dtype=torch.long)
    given |= {"guidance_scale": 4.0, "negative_prompt": None, "use_resolution_binning": False}
    scheduler = D.DDIMScheduler()
    return built(D.PixArtSigmaPipeline, transformer, given, vae=vae(), scheduler=scheduler)


def auraflow() -> Built:
    transformer = D.AuraFlowTransformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_projection_dim=16,
        joint_attention_dim=8,
        out_channels=4,
        pos_embed_max_size=64,
    )
    given = texts("prompt_embeds") | masks("prompt_attention_mask") | {"guidance_scale": 4.0}
    return built(D.AuraFlowPipeline, transformer, given, vae=vae(), scheduler=flow())


FLUX: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 8,
    "axes_dims_rope": (4, 4, 8),
}


def flux() -> Built:
    transformer = D.FluxTransformer2DModel(**FLUX, pooled_projection_dim=8)
    given = texts("prompt_embeds", "pooled_prompt_embeds") | {"true_cfg_scale": 3.0}
    return built(D.FluxPipeline, transformer, given, vae=vae(), scheduler=flow())


def chroma() -> Built:
    transformer = D.ChromaTransformer2DModel(
        **FLUX, approximator_hidden_dim=32, approximator_layers=1, approximator_num_channels=16
    )
    given = texts("prompt_embeds") | masks("prompt_attention_mask") | {"guidance_scale": 3.0}
    return built(D.ChromaPipeline, transformer, given, vae=vae(), scheduler=flow())


def lumina() -> Built:
    transformer = D.LuminaNextDiT2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=4,
        hidden_size=16,
        num_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        norm_eps=1e-5,
        learn_sigma=True,
        qk_norm=True,
        cross_attention_dim=8,
    )
    given = texts("prompt_embeds") | masks("prompt_attention_mask", dtype=torch.bool)
    given |= {"guidance_scale": 4.0}
    return built(D.LuminaPipeline, transformer, given, vae=vae(), scheduler=flow())


def lumina2() -> Built:
    transformer = D.Lumina2Transformer2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=4,
        hidden_size=24,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=3,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(128, 128, 128),
        cap_feat_dim=8,
    )
    given = texts("prompt_embeds") | masks("prompt_attention_mask", dtype=torch.bool)
    given |= {"guidance_scale": 3.0}
    return built(D.Lumina2Pipeline, transformer, given, vae=vae(), scheduler=flow())


def cogvideox() -> Built:
    transformer = D.CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=8,
        num_layers=1,
        sample_width=4,
        sample_height=4,
        sample_frames=5,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=6,
    )
    autoencoder = D.AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    given = texts("prompt_embeds") | {"guidance_scale": 3.0, "num_frames": 5}
    scheduler = D.DDIMScheduler()
    return built(D.CogVideoXPipeline, transformer, given, vae=autoencoder, scheduler=scheduler)


def wan() -> Built:
    transformer = D.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=8,
        freq_dim=16,
        ffn_dim=16,
        num_layers=1,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )
    autoencoder = D.AutoencoderKLWan(
        base_dim=3,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )
    given = texts("prompt_embeds") | {"guidance_scale": 3.0, "num_frames": 5}
    return built(D.WanPipeline, transformer, given, vae=autoencoder, scheduler=flow())


def kandinsky() -> Built:
    unet = D.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        attention_head_dim=4,
        cross_attention_dim=8,
        norm_num_groups=4,
        encoder_hid_dim=8,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        resnet_time_scale_shift="scale_shift",
    )
    movq = D.VQModel(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
    )
    given = texts("image_embeds") | {"guidance_scale": 3.0}
    return built(D.KandinskyV22Pipeline, unet, given, movq=movq, scheduler=D.DDIMScheduler())


ALL = (
    sdxl, sd3, pixart, auraflow, flux, chroma, lumina, lumina2, cogvideox, wan, kandinsky,
)  # fmt: skip
