"""A small UNet and a small Flux at work, and what a capture must leave behind on them: nothing."""

import torch
from diffusers import FluxTransformer2DModel
from diffusers.models import attention_dispatch
from torch._dynamo import eval_frame
from torch.overrides import _get_current_function_mode_stack

MID = "mid_block.attentions.0.transformer_blocks.0.attn1"
CROSS = "mid_block.attentions.0.transformer_blocks.0.attn2"


def inputs(batch: int = 1, size: tuple[int, int] = (16, 16), seed: int = 1):
    """Latents, timestep and text of one pass; batch items differ."""
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(batch, 4, *size, generator=generator)
    return latent, 300, torch.randn(batch, 7, 24, generator=generator)


@torch.no_grad()
def run(unet, batch: int = 1, size: tuple[int, int] = (16, 16), **more) -> torch.Tensor:
    return unet(*inputs(batch, size), **more).sample


def small_flux() -> FluxTransformer2DModel:
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=8,
        pooled_projection_dim=8,
        axes_dims_rope=(4, 4, 8),
    ).eval()


@torch.no_grad()
def run_flux(flux, **more) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    ids = torch.cartesian_prod(torch.zeros(1), torch.arange(3.0), torch.arange(4.0))
    return flux(
        hidden_states=torch.randn(2, 12, 4, generator=generator),
        encoder_hidden_states=torch.randn(2, 5, 8, generator=generator),
        pooled_projections=torch.randn(2, 8, generator=generator),
        timestep=torch.tensor([0.5, 0.5]),
        img_ids=ids,
        txt_ids=torch.zeros(5, 3),
        **more,
    ).sample


def eager(call) -> torch.Tensor:
    """Attention probabilities written out in float64, mask and all."""
    q, k = call.q.double(), call.k.double()
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    logits = torch.einsum("bhqd,bhkd->bhqk", q, k) * call.scale
    if call.mask is not None and call.mask.dtype == torch.bool:
        logits = torch.where(call.mask, logits, float("-inf"))
    elif call.mask is not None:
        logits = logits + call.mask.double()
    return logits.softmax(-1).nan_to_num(0.0)


def state(model: torch.nn.Module) -> tuple:
    """All that a capture could leave behind on a model, a thread or in the libraries."""
    hooks = [
        (name, *module._forward_hooks.values(), *module._forward_pre_hooks.values())
        for name, module in model.named_modules()
    ]
    own = {(name, key) for name, module in model.named_modules() for key in vars(module)}
    methods = [
        vars(module).get(key)
        for module in model.modules()
        for key in ("get_attention_scores", "cache_context", "forward")
    ]
    backends = dict(attention_dispatch._AttentionBackendRegistry._backends)
    modes = _get_current_function_mode_stack()
    return hooks, own, methods, backends, modes, eval_frame._stance
