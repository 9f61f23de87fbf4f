"""The parts of `tiny`: Stable Diffusion's own classes, small.

Pictures are 128×128, latents 4×32×32; self- and cross-attention stand at 32², 16² and 8².
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from attnprobe.data.shapes import SHAPES
from attnprobe.data.textures import COLOURS, TEXTURES

IMAGE_SIZE = 128
WIDTHS = (96, 160, 128)
HEADS = (3, 5, 4)
TEXT_WIDTH = 128
CAPTION_TOKENS = 77

WORDS = [
    *COLOURS, *TEXTURES, *SHAPES, "a", "an", "and", "on", "of", "ground", "sketch", "painting",
]  # fmt: skip


def make_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer in which each word of the captions is one token, others fall to letters."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator([*WORDS, ",", *alphabet], trainer)
    with tempfile.TemporaryDirectory() as folder:
        bpe.model.save(folder)
        vocabulary = json.loads((Path(folder) / "vocab.json").read_text())
        merges = (Path(folder) / "merges.txt").read_text().splitlines()
    merges = [line for line in merges if line and not line.startswith("#version")]
    for letter in alphabet:  # BPE training keeps only the word endings it has met
        vocabulary.setdefault(f"{letter}</w>", len(vocabulary))
    pairs: Any = [tuple(line.split(" ")) for line in merges]
    return CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=CAPTION_TOKENS)


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """CLIP's text tower with 3 layers of width 128."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=CAPTION_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_vae() -> AutoencoderKL:
    """An autoencoder that divides the sides by 4."""
    return AutoencoderKL(
        block_out_channels=(32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=16,
        sample_size=IMAGE_SIZE,
    )


def make_unet() -> UNet2DConditionModel:
    """A UNet with self- and cross-attention in every block, mimetically initialised."""
    unet = UNet2DConditionModel(
        sample_size=IMAGE_SIZE // 4,
        block_out_channels=WIDTHS,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        layers_per_block=1,
        attention_head_dim=HEADS,  # diffusers' name for the number of heads
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=16,
    )
    start_self_attention_alike(unet)
    return unet


def start_self_attention_alike(unet: nn.Module, scale: float = 1.2) -> None:
    """Start query and key of each self-attention at one orthogonal matrix.

    Like tokens then attend to like ones from the first step; from the usual start attention is
    still uniform after 500 steps (mimetic initialisation, Trockman & Kolter, ICML 2023).
    """
    for name, module in unet.named_modules():
        if re.search(r"\.attn1$", name):
            nn.init.orthogonal_(module.to_q.weight, gain=scale)
            with torch.no_grad():
                module.to_k.weight.copy_(module.to_q.weight)


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def make_pipeline(**parts: Any) -> StableDiffusionPipeline:
    """The parts as one Stable Diffusion pipeline without a safety checker."""
    return StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
