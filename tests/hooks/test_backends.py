"""Kernels in diffusers' registry, its own and others: each call is told once, rightly."""

import math
import subprocess
import sys
import warnings
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from diffusers.models import attention_dispatch as dispatch
from diffusers.models.attention_dispatch import attention_backend, dispatch_attention_fn
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask

import attnprobe as ap
from attnprobe.errors import CaptureError
from attnprobe.hooks import AttentionHooks, attention_layers
from tests.hooks.small import (
    check,
    run,
    run_flux,
    same_output,
    small_flux,
    state,
    watch,
)

registry = dispatch._AttentionBackendRegistry
FLEX, SAGE = dispatch.AttentionBackendName.FLEX, dispatch.AttentionBackendName.SAGE


@pytest.fixture
def flux():
    return small_flux()


@pytest.fixture
def keep_active_backend():
    """`set_attention_backend` sets the backend of the process, too."""
    before = registry._active_backend
    yield
    registry.set_active_backend(before)


def joint_mask(kind: str) -> torch.Tensor | None:
    if kind == "none":
        return None
    keep = torch.ones(2, 1, 1, 17, dtype=torch.bool)
    keep[1, ..., 3:5] = False
    return keep if kind == "bool" else torch.where(keep, 0.0, -3.0)


@pytest.mark.parametrize("mask", ["none", "bool", "float"])
@pytest.mark.parametrize("backend", ["native", "_native_math", "flex"])
def test_backends_of_diffusers(flux, backend, mask):
    def work():
        with attention_backend(backend), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run_flux(flux, joint_attention_kwargs={"attention_mask": joint_mask(mask)})

    seen = check(flux, work)
    assert {call.masked for call in seen.values()} == {mask != "none"}


def test_flex_set_on_the_model_and_not_left_wrapped(flux, keep_active_backend):
    flux.set_attention_backend("flex")
    check(flux, lambda: run_flux(flux))
    flux.reset_attention_backend()
    check(flux, lambda: run_flux(flux))


FRESH = """
import sys, warnings, torch
warnings.simplefilter("ignore")
from diffusers.models.attention_dispatch import attention_backend
from attnprobe.hooks import AttentionHooks
from tests.hooks.small import run_flux, small_flux
flux, seen = small_flux(), []
hooks = AttentionHooks(flux)
hooks.add(lambda call: seen.append(call.probs().sum(-1)))
with attention_backend("flex"):
    with hooks:
        captured = run_flux(flux)
    plain = run_flux(flux)
assert torch.equal(captured, plain)
assert len(seen) == 2, seen
"""


def test_flex_first_used_inside_a_block():
    """In a new process: flex attention compiles itself when it is first called."""
    subprocess.run([sys.executable, "-c", FRESH], check=True, timeout=300)


class Dispatching(nn.Module):
    """A layer that calls diffusers' dispatcher with whatever it is given."""

    def __init__(self, **given):
        super().__init__()
        self.given, self.heads = given, 2

    def forward(self, x):
        q, k, v = x.unflatten(-1, (3, 2, 8)).unbind(2)
        return dispatch_attention_fn(q, k, v, **self.given).flatten(2)


class Denoiser(nn.Module):
    def __init__(self, **given):
        super().__init__()
        self.attn = Dispatching(**given)

    def forward(self, x):
        return self.attn(x)


def check_dispatch(given: dict, **options) -> SimpleNamespace:
    model = Denoiser(**given)
    x = torch.randn(2, 6, 48, generator=torch.Generator().manual_seed(3))
    plain = model(x)
    result, seen = watch(model, lambda: model(x), classes=(Dispatching,), **options)
    if "policy" in options:
        same_output(result, plain)
    else:
        assert torch.equal(result, plain)
    (call,) = seen.values()
    assert call.probs < 1e-6
    assert call.out < 1e-5
    return call


def lower(batch, head, query, key):
    return query >= key


@pytest.mark.parametrize("policy", [{}, {"policy": "force_native"}])
@pytest.mark.parametrize("kind", ["block mask", "over queries", "scaled"])
def test_what_flex_takes(kind, policy):
    if kind == "block mask":
        given = {"attn_mask": create_block_mask(lower, 2, 2, 6, 6, device="cpu", BLOCK_SIZE=2)}
    elif kind == "over queries":
        given = {"attn_mask": torch.randn(2, 6)}
    else:
        given = {"scale": 0.7}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call = check_dispatch(given | {"backend": "flex"}, **policy)
    if kind == "block mask":
        assert call.map.triu(1).abs().max() == 0


@pytest.mark.parametrize("backend", ["flex", "native"])
def test_causal_order_as_the_backend_has_it(backend):
    """diffusers' flex kernel leaves the order out where it is given no mask."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call = check_dispatch({"is_causal": True, "backend": backend})
    assert (call.map.triu(1).abs().max() == 0) == (backend == "native")


def test_a_mask_of_keys_in_the_native_backend():
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    assert check_dispatch({"attn_mask": mask, "backend": "native"}).masked


def by_chunks(query, key, value, attn_mask=None, scale=None, return_lse=False):
    """Attention a chunk of two queries at a time, with no kernel of PyTorch's."""
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    q, k, v = (part.transpose(1, 2) for part in (query, key, value))
    chunks = []
    for top in range(0, q.shape[2], 2):
        logits = q[:, :, top : top + 2] @ k.transpose(2, 3) * scale
        if attn_mask is not None:
            rows = attn_mask if attn_mask.shape[-2] == 1 else attn_mask[..., top : top + 2, :]
            logits = logits.masked_fill(~rows, float("-inf"))
        chunks.append(logits.softmax(-1) @ v)
    out = torch.cat(chunks, 2).transpose(1, 2)
    return (out, torch.zeros(out.shape[:3])) if return_lse else out


def by_chunks_of_sdpa(query, key, value, attn_mask=None, scale=None):
    """The same through PyTorch's kernel: many calls of it are one call of attention."""
    q, k, v = (part.transpose(1, 2) for part in (query, key, value))
    chunks = [
        F.scaled_dot_product_attention(q[:, :, top : top + 2], k, v, attn_mask, scale=scale)
        for top in range(0, q.shape[2], 2)
    ]
    return torch.cat(chunks, 2).transpose(1, 2)


def by_delegation(query, key, value, attn_mask=None, scale=None):
    """A backend that passes on to another, by place and not by name."""
    return registry._backends["native"](query, key, value, attn_mask, 0.0, False, scale)


@pytest.fixture
def own_backend():
    """Registers kernels under names, and takes them out again."""
    before = {
        part: dict(getattr(registry, part))
        for part in ("_backends", "_constraints", "_supported_arg_names")
    }
    active = registry._active_backend

    def register(name, kernel):
        registry.register(name)(kernel)

    yield register
    registry.set_active_backend(active)
    for part, entries in before.items():
        getattr(registry, part).clear()
        getattr(registry, part).update(entries)


KERNELS = [by_chunks, by_chunks_of_sdpa, by_delegation]
by_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)


@by_kernel
@pytest.mark.parametrize("mask", ["none", "bool"])
def test_a_backend_of_ones_own(flux, own_backend, kernel, mask):
    own_backend(SAGE, kernel)
    registry.set_active_backend(SAGE)
    given = {"attention_mask": joint_mask(mask)}
    seen = check(flux, lambda: run_flux(flux, joint_attention_kwargs=given))
    assert {call.shape for call in seen.values()} == {(2, 2, 17, 17)}


class Positional(Dispatching):
    """A layer that goes to the registry itself, with its arguments by place."""

    def forward(self, x):
        q, k, v = x.unflatten(-1, (3, 2, 8)).unbind(2)
        return registry._backends[self.given["name"]](q, k, v).flatten(2)


@pytest.mark.parametrize("name", ["native", SAGE])
def test_a_backend_called_by_place(own_backend, name):
    own_backend(SAGE, by_chunks)
    model, x = nn.Sequential(Positional(name=name)), torch.randn(2, 6, 48)
    plain = model(x)
    result, seen = watch(model, lambda: model(x), classes=(Positional,))
    assert torch.equal(result, plain)
    assert (seen["0"].probs, seen["0"].out) < (1e-6, 1e-5)


def test_layers_run_again_in_the_backward_pass_are_no_calls(flux, own_backend):
    """With gradient checkpointing their kernels are called again, outside of any pass."""
    ran, calls = [], Counter()

    def kernel(query, key, value, attn_mask=None, scale=None):
        ran.append(1)
        return by_chunks(query, key, value, attn_mask, scale)

    own_backend(SAGE, kernel)
    registry.set_active_backend(SAGE)
    flux.train()
    flux.enable_gradient_checkpointing()
    hooks = AttentionHooks(flux)
    hooks.add(lambda call: calls.update([call.name]))
    with torch.enable_grad(), hooks:
        run_flux.__wrapped__(flux).sum().backward()
    assert len(ran) == 4
    assert calls == {layer.name: 1 for layer in attention_layers(flux)}


def test_a_backend_under_a_name_of_its_own(flux, own_backend):
    own_backend("mine", by_chunks)
    registry.set_active_backend("mine")
    check(flux, lambda: run_flux(flux))


def test_a_backend_that_also_returns_the_normaliser(own_backend):
    """The output is the first of what comes back; an edit takes its place and keeps the rest."""
    own_backend(SAGE, by_chunks)

    class Pair(Dispatching):
        def forward(self, x):
            out, normaliser = dispatch_attention_fn(
                *x.unflatten(-1, (3, 2, 8)).unbind(2),
                attention_kwargs={"return_lse": True},
                backend=SAGE,
            )
            assert normaliser.shape == out.shape[:3]
            return out

    model = nn.Sequential(Pair())
    x = torch.randn(1, 6, 48)
    hooks = AttentionHooks(model, classes=(Pair,))
    hooks.edit(lambda out, call: out * 2, on="out")
    plain = model(x)
    with hooks:
        assert torch.equal(model(x), plain * 2)


@by_kernel
def test_nested_captures_of_a_backend(flux, own_backend, kernel):
    own_backend(SAGE, kernel)
    registry.set_active_backend(SAGE)
    with ap.capture(flux) as outer:
        run_flux(flux)
        with ap.capture(flux) as inner:
            run_flux(flux)
    assert [row["calls"] for row in outer.layers] == [2, 2]
    assert [row["calls"] for row in inner.layers] == [1, 1]


def test_the_outer_block_edits_first_whatever_the_kernel(flux, own_backend):
    """An inner block's observers see what an outer block's edits have made of the output."""
    own_backend(SAGE, by_chunks)
    for active in ("native", SAGE):
        registry.set_active_backend(active)
        outputs = []
        outer, inner = AttentionHooks(flux), AttentionHooks(flux)
        outer.edit(lambda out, call: torch.ones_like(out), on="out")
        inner.edit(lambda out, call: out + 1, on="out")
        inner.add(lambda call, outputs=outputs: outputs.append(call.out))
        with outer, inner:
            run_flux(flux)
        assert len(outputs) == 2
        assert all(torch.equal(out, torch.full_like(out, 2.0)) for out in outputs)


def test_a_backend_registered_during_a_block_stays(flux, own_backend):
    own_backend(SAGE, by_chunks)
    with ap.capture(flux):
        run_flux(flux)
        registry.register(SAGE)(by_delegation)
        registry.register("mine")(by_chunks)
    assert registry._backends[SAGE] is by_delegation
    assert registry._backends["mine"] is by_chunks


def test_policy_error_names_layer_backend_and_ways_out(flux, own_backend):
    own_backend(SAGE, by_chunks)
    registry.set_active_backend(SAGE)
    before = state(flux)
    with (
        pytest.raises(
            CaptureError,
            match=r"layer transformer_blocks.0.attn runs the attention backend 'sage'.*"
            "policy 'tap', or replaced by 'force_native'",
        ),
        ap.capture(flux, policy="error"),
    ):
        run_flux(flux)
    assert state(flux) == before


@pytest.mark.parametrize("policy", ["error", "force_native"])
def test_policies_leave_pytorchs_own_kernels_alone(flux, unet, policy):
    check(flux, lambda: run_flux(flux), policy=policy)
    check(unet, lambda: run(unet), policy=policy)


def test_policies_are_about_the_layers_watched(flux, own_backend):
    """Of what nobody looks at no probabilities are computed, and no kernel need be replaced."""
    ran = []

    def kernel(query, key, value, attn_mask=None, scale=None):
        ran.append(query.shape)
        return by_chunks(query, key, value, attn_mask, scale)

    own_backend(SAGE, kernel)
    registry.set_active_backend(SAGE)
    flux.transformer_blocks[0].attn.processor._attention_backend = "native"
    plain = run_flux(flux)
    for policy in ("error", "force_native"):
        ran.clear()
        with ap.capture(flux, ap.Layers(block="double"), policy=policy):
            assert torch.equal(run_flux(flux), plain)
        assert len(ran) == 1


def test_policy_force_native_runs_pytorchs_kernel_instead(flux, own_backend):
    native = run_flux(flux)
    ran = []

    def wrong(query, key, value, attn_mask=None, scale=None):
        ran.append(1)
        return value * 0

    own_backend(SAGE, wrong)
    registry.set_active_backend(SAGE)
    assert not torch.equal(run_flux(flux), native)
    ran.clear()
    result, seen = watch(flux, lambda: run_flux(flux), policy="force_native")
    assert torch.equal(result, native)
    assert len(seen) == 2
    assert not ran
