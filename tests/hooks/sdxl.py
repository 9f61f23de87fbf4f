"""SDXL's UNet, its shapes worked out by hand, and what a capture of a narrow one takes in memory.

Run as a program it prints one JSON object: bytes planned, bytes kept, and resident memory grown.
Run it with ``MALLOC_MMAP_THRESHOLD_=65536``, so that memory given back is no longer resident.
"""

import json

import torch
from diffusers import UNet2DConditionModel

import attnprobe as ap
from attnprobe.hooks import plan
from tests.hooks.sd14 import resident

SDXL = {
    "sample_size": 128,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
NARROW = SDXL | {
    "block_out_channels": (40, 80, 160),
    "norm_num_groups": 8,
    "cross_attention_dim": 32,
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 112,
}
"""The same blocks, layers and heads, each head eight wide."""


def build(config, device="cpu") -> UNet2DConditionModel:
    torch.manual_seed(0)
    with torch.device(device):
        return UNet2DConditionModel.from_config(config).eval()


def inputs(config, latent: int, batch: int = 2, device="cpu"):
    pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
    words = torch.randn(batch, 77, config["cross_attention_dim"], device=device)
    return {
        "sample": torch.randn(batch, 4, latent, latent, device=device),
        "timestep": 300,
        "encoder_hidden_states": words,
        "added_cond_kwargs": {
            "text_embeds": torch.randn(batch, pooled, device=device),
            "time_ids": torch.zeros(batch, 6, device=device),
        },
    }


def layers_by_hand(latent: int) -> dict[int, int]:
    """Tokens of a layer -> how many layers have as many, self-attention and cross each.

    At half the latent's side: two transformers of 2 layers down, three up. At a quarter: two of 10
    down, one of 10 in the middle, three of 10 up.
    """
    return {(latent // 2) ** 2: 2 * 2 + 3 * 2, (latent // 4) ** 2: 2 * 10 + 10 + 3 * 10}


@torch.no_grad()
def main() -> None:
    model, given = build(NARROW), inputs(NARROW, 64)
    planned = plan(model, given)
    model(**given)
    with ap.capture(model) as capture:
        before = resident("VmRSS")
        model(**given)
    grown = resident("VmRSS") - before
    print(json.dumps({"planned": planned.total, "kept": capture.nbytes, "grown": grown}))


if __name__ == "__main__":
    main()
