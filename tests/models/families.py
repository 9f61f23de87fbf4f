"""Pipelines of transformers' families, whole, small, and of random weights."""

from __future__ import annotations

from functools import cache
from typing import Any

import diffusers as D
import transformers as T
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from attnprobe.models.tiny.architecture import make_tokenizer

TEXT = ["a red star on a blue ground", "a photograph of a cat and a dog", "user assistant system"]

CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] "
    "if message['content'] is string else message['content'][0]['text'] }}</s>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@cache
def tokenizer() -> T.PreTrainedTokenizerFast:
    """Byte-level pairs learnt from three sentences, with a template of a chat."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "</s>", "<unk>", "<s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(TEXT, trainer)
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "bos_token": "<s>"}
    made = T.PreTrainedTokenizerFast(tokenizer_object=bpe, model_max_length=512, **names)
    made.chat_template = CHAT
    return made


def vae(channels: int, **changes: Any) -> D.AutoencoderKL:
    return D.AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=2,
        latent_channels=channels,
        **{"shift_factor": 0.1, "scaling_factor": 1.5, **changes},
    )


def clip(projected: bool = False) -> Any:
    known = make_tokenizer()
    config = T.CLIPTextConfig(
        vocab_size=len(known),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=32,
        bos_token_id=known.bos_token_id,
        eos_token_id=known.eos_token_id,
        pad_token_id=known.pad_token_id,
    )
    return (T.CLIPTextModelWithProjection if projected else T.CLIPTextModel)(config)


def t5(width: int = 64, cls: Any = T.T5EncoderModel, config: Any = T.T5Config) -> Any:
    return cls(
        config(
            vocab_size=len(tokenizer()),
            d_model=width,
            d_kv=8,
            d_ff=32,
            num_layers=1,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )


SMALL_LLM: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "pad_token_id": 0,
    "bos_token_id": 3,
    "eos_token_id": 1,
}


def llm(cls: Any, config: Any, **changes: Any) -> Any:
    return cls(config(vocab_size=len(tokenizer()), **(SMALL_LLM | changes)))


def flow(**changes: Any) -> D.FlowMatchEulerDiscreteScheduler:
    return D.FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **changes})


def sd3() -> Any:
    transformer = D.SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=64,
        caption_projection_dim=16,
        pooled_projection_dim=64,
        out_channels=4,
        pos_embed_max_size=32,
    )
    return D.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=flow(),
        vae=vae(4),
        text_encoder=clip(True),
        tokenizer=make_tokenizer(),
        text_encoder_2=clip(True),
        tokenizer_2=make_tokenizer(),
        text_encoder_3=t5(),
        tokenizer_3=tokenizer(),
    )


def sd3_without_t5() -> Any:
    parts = dict(sd3().components)
    parts |= {"text_encoder_3": None, "tokenizer_3": None}
    return D.StableDiffusion3Pipeline(**parts)


FLUX: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 64,
    "axes_dims_rope": (4, 4, 8),
}


def flux(distilled: bool = True) -> Any:
    return D.FluxPipeline(
        transformer=D.FluxTransformer2DModel(
            **FLUX, pooled_projection_dim=24, guidance_embeds=distilled
        ),
        scheduler=flow(use_dynamic_shifting=True),
        vae=vae(4),
        text_encoder=clip(),
        tokenizer=make_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=tokenizer(),
    )


def flux_schnell() -> Any:
    return flux(distilled=False)


def flux2() -> Any:
    transformer = D.Flux2Transformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=96,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
    )
    autoencoder = D.AutoencoderKLFlux2(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=2,
        latent_channels=4,
    )
    autoencoder.bn.running_mean.uniform_(-1, 1)
    autoencoder.bn.running_var.uniform_(0.5, 2)
    config = T.Mistral3Config(
        text_config={
            **SMALL_LLM, "vocab_size": len(tokenizer()), "model_type": "mistral",
            "num_hidden_layers": 30,
        },
        vision_config={
            "model_type": "pixtral", "hidden_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 32, "image_size": 28, "patch_size": 14,
            "num_channels": 3,
        },
    )  # fmt: skip
    return D.Flux2Pipeline(
        transformer=transformer,
        scheduler=flow(use_dynamic_shifting=True),
        vae=autoencoder,
        text_encoder=T.Mistral3ForConditionalGeneration(config),
        tokenizer=tokenizer(),
    )


def chroma() -> Any:
    transformer = D.ChromaTransformer2DModel(
        **FLUX, approximator_hidden_dim=32, approximator_layers=1, approximator_num_channels=16
    )
    return D.ChromaPipeline(
        transformer=transformer,
        scheduler=flow(),
        vae=vae(4),
        text_encoder=t5(),
        tokenizer=tokenizer(),
    )


def pixart_sigma() -> Any:
    transformer = D.PixArtTransformer2DModel(
        sample_size=16,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_channels=64,
        in_channels=4,
        cross_attention_dim=16,
        out_channels=8,
        use_additional_conditions=False,
    )
    return D.PixArtSigmaPipeline(
        transformer=transformer,
        scheduler=D.DPMSolverMultistepScheduler(),
        vae=vae(4, shift_factor=None),
        text_encoder=t5(),
        tokenizer=tokenizer(),
    )


def sana() -> Any:
    transformer = D.SanaTransformer2DModel(
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=32,
        sample_size=16,
    )
    autoencoder = D.AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock",) * 6,
        decoder_block_types=("ResBlock",) * 6,
        encoder_block_out_channels=(4,) * 6,
        decoder_block_out_channels=(4,) * 6,
        encoder_qkv_multiscales=((),) * 6,
        decoder_qkv_multiscales=((),) * 6,
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    )
    return D.SanaPipeline(
        transformer=transformer,
        scheduler=D.DPMSolverMultistepScheduler(
            use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
        ),
        vae=autoencoder,
        text_encoder=llm(T.Gemma2Model, T.Gemma2Config),
        tokenizer=tokenizer(),
    )


def lumina2() -> Any:
    transformer = D.Lumina2Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        hidden_size=24,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=3,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(300, 128, 128),
        cap_feat_dim=32,
    )
    return D.Lumina2Pipeline(
        transformer=transformer,
        scheduler=flow(),
        vae=vae(4),
        text_encoder=llm(T.Gemma2Model, T.Gemma2Config),
        tokenizer=tokenizer(),
    )


def qwen_image() -> Any:
    transformer = D.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(8, 4, 4),
    )
    autoencoder = D.AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 0.5, 2.0, 1.0],
    )
    config = T.Qwen2_5_VLConfig(
        text_config={
            **SMALL_LLM,
            "vocab_size": len(tokenizer()),
            "rope_scaling": {
                "type": "default",
                "mrope_section": [2, 3, 3],
                "rope_theta": 1000000.0,
            },
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": 32,
        },
        hidden_size=32,
        vocab_size=len(tokenizer()),
    )
    return D.QwenImagePipeline(
        transformer=transformer,
        scheduler=flow(use_dynamic_shifting=True),
        vae=autoencoder,
        text_encoder=T.Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=tokenizer(),
    )


def z_image() -> Any:
    transformer = D.ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        qk_norm=True,
        cap_feat_dim=32,
        rope_theta=256.0,
        t_scale=1000.0,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 64, 64],
    )
    return D.ZImagePipeline(
        transformer=transformer,
        scheduler=flow(),
        vae=vae(4),
        text_encoder=llm(T.Qwen3Model, T.Qwen3Config),
        tokenizer=tokenizer(),
    )


def cogview4() -> Any:
    transformer = D.CogView4Transformer2DModel(
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        out_channels=4,
        text_embed_dim=32,
        time_embed_dim=8,
        condition_dim=4,
        sample_size=16,
    )
    return D.CogView4Pipeline(
        transformer=transformer,
        scheduler=flow(base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True),
        vae=vae(4, shift_factor=None),
        text_encoder=llm(T.GlmModel, T.GlmConfig),
        tokenizer=tokenizer(),
    )


def auraflow() -> Any:
    transformer = D.AuraFlowTransformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_projection_dim=16,
        joint_attention_dim=64,
        out_channels=4,
        pos_embed_max_size=256,
    )
    return D.AuraFlowPipeline(
        transformer=transformer,
        scheduler=flow(shift=1.73),
        vae=vae(4, shift_factor=None),
        text_encoder=t5(64, T.UMT5EncoderModel, T.UMT5Config),
        tokenizer=tokenizer(),
    )


def hunyuan_dit() -> Any:
    transformer = D.HunyuanDiT2DModel(
        sample_size=16,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        in_channels=4,
        cross_attention_dim=32,
        cross_attention_dim_t5=64,
        pooled_projection_dim=16,
        hidden_size=24,
        activation_fn="gelu-approximate",
        text_len=77,
        text_len_t5=256,
    )
    bert = T.BertConfig(
        vocab_size=len(tokenizer()),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    return D.HunyuanDiTPipeline(
        transformer=transformer,
        scheduler=D.DDPMScheduler(),
        vae=vae(4, shift_factor=None),
        text_encoder=T.BertModel(bert),
        tokenizer=tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=tokenizer(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


ALL = (
    sd3, sd3_without_t5, flux, flux_schnell, flux2, chroma, pixart_sigma, sana, lumina2, qwen_image,
    z_image, cogview4, auraflow, hunyuan_dit,
)  # fmt: skip
