"""A small UNet and a small Flux at work, and what a capture must leave behind on them: nothing."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import FluxTransformer2DModel
from diffusers.models import attention_dispatch
from diffusers.models.attention_processor import AttnProcessor, SlicedAttnProcessor
from torch._dynamo import eval_frame
from torch.overrides import _get_current_function_mode_stack

import attnprobe as ap
from attnprobe.hooks import AttentionHooks, PerHead, attention_layers
from tests.hooks.calls import eager

MID = "mid_block.attentions.0.transformer_blocks.0.attn1"
CROSS = "mid_block.attentions.0.transformer_blocks.0.attn2"

every_head = PerHead()
by_processor = pytest.mark.parametrize(
    "processor",
    [None, AttnProcessor(), SlicedAttnProcessor(1)],
    ids=["native", "classic", "sliced"],
)


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


def passes(unet, timesteps) -> None:
    latent, _, words = inputs()
    with torch.no_grad():
        for t in timesteps:
            unet(latent, t, words)


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


def layer_names(model) -> list[str]:
    return [layer.name for layer in attention_layers(model)]


def captured(unet, work, layers=None, keep=None, **options):
    """A capture during `work`, whose result must be as without, and nothing be left behind."""
    plain, before = work(), state(unet)
    with ap.capture(unet, layers, keep, **options) as capture:
        result = work()
    assert torch.equal(result, plain)
    assert state(unet) == before
    return capture


def same_output(some: torch.Tensor, others: torch.Tensor, share: float = 1e-5) -> None:
    """Alike but for rounding, told by the output's own size: a model's is float32's many times."""
    difference = (some.double() - others.double()).norm() / others.double().norm()
    assert difference < share, f"{difference:.2e} of the output's norm"


def same_maps(some, others, rtol=1e-4, atol=1e-6) -> None:
    assert [row["name"] for row in some.layers] == [row["name"] for row in others.layers]
    for row in some.layers:
        torch.testing.assert_close(some[row["name"]], others[row["name"]], rtol=rtol, atol=atol)


def watch(model, work, **options) -> tuple[object, dict[str, SimpleNamespace]]:
    """What `work` gives, and of each call its shape and how far it is from eager attention."""
    seen: dict[str, SimpleNamespace] = {}

    def observe(call):
        assert call.name not in seen
        truth = eager(call)
        v = call.v.double().repeat_interleave(call.heads // call.v.shape[1], 1)
        seen[call.name] = SimpleNamespace(
            shape=call.shape,
            masked=call.mask is not None,
            probs=(call.probs().double() - truth).abs().max().item(),
            out=(call.out.double() - truth @ v).abs().max().item(),
            map=call.probs(),
        )

    hooks = AttentionHooks(model, **options)
    hooks.add(observe)
    with hooks:
        result = work()
    return result, seen


def check(model, work, **options) -> dict[str, SimpleNamespace]:
    """Output and state as before, every layer told once, its map and product those of eager."""
    before, plain = state(model), work()
    result, seen = watch(model, work, **options)
    assert torch.equal(result, plain)
    assert state(model) == before
    assert sorted(seen) == sorted(layer.name for layer in attention_layers(model))
    for name, call in seen.items():
        assert call.probs < 1e-6, name
        assert call.out < 1e-5, name
    return seen
