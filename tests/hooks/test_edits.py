"""Edits: what they are asked to change changes, by the sums it must, and nothing besides."""

import copy

import pytest
import torch
import torch.nn.functional as F
from diffusers.models import attention_dispatch as dispatch
from diffusers.models.attention_processor import AttnProcessor, SlicedAttnProcessor
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import attnprobe as ap
from attnprobe.errors import CaptureError
from attnprobe.hooks import AttentionHooks
from tests.conftest import small_unet
from tests.hooks.small import CROSS, MID, eager, inputs, run, same_output, state

mid = ap.Layers(names=(MID,))
cross = ap.Layers(names=(CROSS,))


def edited(unet, function, layers=None, work=run, **options) -> torch.Tensor:
    """The output of a pass under one edit."""
    hooks = AttentionHooks(unet)
    hooks.edit(function, layers, **options)
    with hooks:
        return work(unet)


def outputs_of(unet, layers, *edits) -> list[torch.Tensor]:
    """What an observer beside the edits, registered before them, is told the layers put out."""
    outs: list[torch.Tensor] = []
    hooks = AttentionHooks(unet)
    hooks.add(lambda call: outs.append(call.out.clone()), layers)
    for function, options in edits:
        hooks.edit(function, layers, **options)
    with hooks:
        run(unet)
    return outs


def zero(tensor, call):
    return tensor * 0


@pytest.mark.parametrize("head", [0, 3])
@pytest.mark.parametrize("on", ["probs", "out"])
def test_ablating_a_head_is_zeroing_its_columns_of_the_projection(head, on):
    unet = small_unet(block_out_channels=(16, 32), attention_head_dim=4)
    ablated = edited(unet, zero, mid, on=on, heads=[head])
    truth = copy.deepcopy(unet)
    projection = truth.get_submodule(MID).to_out[0]
    width = projection.in_features // 4
    with torch.no_grad():
        projection.weight[:, head * width : (head + 1) * width] = 0
    same_output(ablated, run(truth))
    assert not torch.allclose(ablated, run(unet), atol=1e-5)


def test_temperature_is_a_scale_of_the_logits():
    unet = small_unet()
    with torch.no_grad():
        for layer in (unet.get_submodule(MID), unet.get_submodule(CROSS)):
            layer.to_q.weight *= 20  # maps far from flat, so that sharpening shows

    def sharpen(probs, call):
        return (call.logits() * 2).softmax(-1)

    sharp = edited(unet, sharpen, ap.Layers(block="mid"))
    truth = copy.deepcopy(unet)
    with torch.no_grad():
        for name in (MID, CROSS):
            truth.get_submodule(name).to_q.weight *= 2
    torch.testing.assert_close(sharp, run(truth), rtol=0, atol=1e-5)
    assert not torch.allclose(sharp, run(unet), atol=1e-4)


def test_temperature_from_the_probabilities_alone(unet):
    """p² over its sum is the softmax of twice the logits."""
    outs = []
    for function in (
        lambda probs, call: probs.square() / probs.square().sum(-1, keepdim=True),
        lambda probs, call: (call.logits() * 2).softmax(-1),
    ):
        outs.append(edited(unet, function))
    torch.testing.assert_close(*outs, rtol=1e-5, atol=1e-6)


def test_swapping_a_cross_attention_map(unet):
    """One prompt's maps with another's values, as prompt-to-prompt does."""
    latent, t, words = inputs()
    others = words.flip(1) * 3
    maps = {}
    hooks = AttentionHooks(unet)
    hooks.add(lambda call, probs: maps.update({call.name: probs}), cross, tensors=("probs",))
    with torch.no_grad(), hooks:
        unet(latent, t, words)
    outs = {}
    hooks = AttentionHooks(unet)
    hooks.edit(lambda probs, call: maps[call.name], cross)
    hooks.add(lambda call: outs.update(out=call.out, v=call.v, own=call.probs()), cross)
    with torch.no_grad(), hooks:
        swapped = unet(latent, t, others).sample
    expected = maps[CROSS].double() @ outs["v"].double()
    torch.testing.assert_close(outs["out"].double(), expected, rtol=0, atol=1e-6)
    assert not torch.allclose(outs["own"], maps[CROSS], atol=1e-5)
    with torch.no_grad():
        assert not torch.equal(swapped, unet(latent, t, others).sample)


@pytest.mark.parametrize("factor", [0.0, 0.5, 3.0])
def test_scaling_a_token(unet, factor):
    """In the attention of eager float64: the word's column times the factor, times the values."""

    def scale(probs, call):
        probs[..., 2] *= factor  # in place: the tensor given is the edit's own
        return probs

    seen = []
    hooks = AttentionHooks(unet)
    hooks.edit(scale, cross)
    hooks.add(seen.append, cross)
    with hooks:
        run(unet)
    (call,) = seen
    truth = eager(call)
    truth[..., 2] *= factor
    torch.testing.assert_close(call.out.double(), truth @ call.v.double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("processor", [None, AttnProcessor(), SlicedAttnProcessor(100)])
def test_the_identity_changes_by_rounding_only(unet, processor):
    if processor is not None:
        unet.set_attn_processor(processor)
    plain = run(unet, 2)
    by_probs = edited(unet, lambda probs, call: probs, work=lambda unet: run(unet, 2))
    by_out = edited(unet, lambda out, call: out, on="out", work=lambda unet: run(unet, 2))
    same_output(by_probs, plain)
    assert torch.equal(by_out, plain)
    assert torch.equal(run(unet, 2), plain)


@given(heads=st.sets(st.integers(0, 3), min_size=1), on=st.sampled_from(["probs", "out"]))
@settings(max_examples=15, deadline=None)
def test_heads_not_chosen_are_bit_identical(heads, on):
    unet = small_unet(block_out_channels=(8, 16), attention_head_dim=4)
    (plain,) = outputs_of(unet, mid)
    (out,) = outputs_of(unet, mid, (zero, {"on": on, "heads": heads}))
    for head in range(4):
        if head in heads:
            assert out[:, head].abs().max() == 0
        else:
            assert torch.equal(out[:, head], plain[:, head])


def test_layers_and_steps_not_chosen_are_bit_identical(unet):
    outs: list[tuple] = []
    hooks = AttentionHooks(unet)
    hooks.edit(zero, mid, steps=[1])
    hooks.add(lambda call: outs.append((call.step, call.name, call.out.clone())))
    plain = run(unet)
    latent, _, words = inputs()
    with torch.no_grad(), hooks:
        first = unet(latent, 300, words).sample
        second = unet(latent, 200, words).sample
    assert torch.equal(first, plain)
    with torch.no_grad():
        assert not torch.equal(second, unet(latent, 200, words).sample)
    zeroed = [(step, name) for step, name, out in outs if out.abs().max() == 0]
    assert zeroed == [(1, MID)]


def test_what_a_function_is_given(unet):
    given_ = {}

    def look(name):
        def function(tensor, call):
            given_[name] = (call.name, tuple(tensor.shape), tensor.dtype)
            if name == "probs":
                truth = eager(call)[:, [1]]
                torch.testing.assert_close(tensor.double(), truth, rtol=0, atol=1e-6)
            return tensor

        return function

    hooks = AttentionHooks(unet.bfloat16())
    hooks.edit(look("probs"), mid, heads=[1])
    hooks.edit(look("out"), mid, heads=[1], on="out")
    latent, t, words = inputs()
    with torch.no_grad(), hooks:
        unet(latent.bfloat16(), t, words.bfloat16())
    assert given_["probs"] == (MID, (1, 1, 64, 64), torch.float32)
    assert given_["out"] == (MID, (1, 1, 64, 16), torch.bfloat16)


def test_two_edits_compose_in_their_order(unet):
    def double(tensor, call):
        return tensor * 2

    def plus_one(tensor, call):
        return tensor + 1

    (plain,) = outputs_of(unet, mid)
    on_out = {"on": "out"}
    (one,) = outputs_of(unet, mid, (double, on_out), (plus_one, on_out))
    (other,) = outputs_of(unet, mid, (plus_one, on_out), (double, on_out))
    torch.testing.assert_close(one, plain * 2 + 1)
    torch.testing.assert_close(other, (plain + 1) * 2)
    (probs,) = outputs_of(unet, mid, (double, {}), (double, {"heads": [1]}))
    torch.testing.assert_close(probs[:, 0], plain[:, 0] * 2, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(probs[:, 1], plain[:, 1] * 4, rtol=1e-5, atol=1e-6)
    (both,) = outputs_of(unet, mid, (plus_one, on_out), (double, {}))
    torch.testing.assert_close(both, plain * 2 + 1, rtol=1e-5, atol=1e-6)


def test_heads_of_one_edit_only_are_composed_alone(unet):
    """The order in which heads are named is the order in which they are given."""
    (plain,) = outputs_of(unet, mid)

    def number(out, call):
        return torch.stack([torch.full_like(out[:, i], i) for i in range(out.shape[1])], 1)

    (out,) = outputs_of(unet, mid, (number, {"on": "out", "heads": [1, 0]}))
    assert (out[:, 1] == 0).all()
    assert (out[:, 0] == 1).all()
    assert plain.shape == out.shape


def test_observers_see_the_edited_output_and_the_models_own_probabilities(unet):
    seen = []
    hooks = AttentionHooks(unet)
    hooks.add(seen.append, mid)
    hooks.edit(zero, mid)
    with hooks:
        run(unet)
    (call,) = seen
    assert call.out.abs().max() == 0
    torch.testing.assert_close(call.probs().double(), eager(call), rtol=0, atol=1e-6)


def test_an_edit_removed_inside_the_block_acts_no_more(unet):
    plain = run(unet)
    hooks = AttentionHooks(unet)
    handle = hooks.edit(zero)
    with hooks:
        ablated = run(unet)
        hooks.remove(handle)
        assert torch.equal(run(unet), plain)
    assert not torch.allclose(ablated, plain, atol=1e-4)


class Grouped(nn.Module):
    """Four query heads on two key heads, straight to the kernel or through the dispatcher."""

    heads = 4

    def __init__(self, dispatched: bool):
        super().__init__()
        self.dispatched = dispatched

    def forward(self, x):
        q, k, v = x.split([16, 8, 8], -1)
        q, k, v = (part.unflatten(-1, (-1, 4)) for part in (q, k, v))
        if self.dispatched:
            return dispatch.dispatch_attention_fn(q, k, v, enable_gqa=True).flatten(2)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return out.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("dispatched", [False, True])
def test_grouped_queries(dispatched):
    model = nn.Sequential(Grouped(dispatched))
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(4))
    plain = model(x).unflatten(-1, (4, 4))
    factors = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    hooks = AttentionHooks(model, classes=(Grouped,))
    hooks.edit(lambda probs, call: probs * factors)
    with hooks:
        scaled = model(x).unflatten(-1, (4, 4))
    torch.testing.assert_close(scaled, plain * factors.view(4, 1), rtol=0, atol=1e-6)


def test_slices_refuse_edits_and_say_the_way_out(unet):
    unet.set_attn_processor(SlicedAttnProcessor(1))
    before = state(unet)
    with pytest.raises(
        CaptureError, match=f"{MID} computes its heads slice by slice.*turn attention slicing off"
    ):
        edited(unet, zero, mid)
    assert state(unet) == before


@pytest.mark.parametrize(
    ("function", "options", "told"),
    [
        (zero, {"heads": [0, 2]}, rf"{MID} has heads 0 to 1. Got \(0, 2\) instead"),
        (zero, {"heads": [-1]}, r"has heads 0 to 1. Got \(-1,\) instead"),
        (lambda p, c: p[:, :, :1], {}, r"return a tensor \(1, 2, 64, 64\) for mid.*\(1, 2, 1, 64"),
        (lambda p, c: None, {}, "must return a tensor .* Got NoneType instead"),
        (lambda o, c: 0.0, {"on": "out"}, "must return a tensor .* Got float instead"),
    ],
)
def test_edits_that_are_wrong(unet, function, options, told):
    before = state(unet)
    with pytest.raises(CaptureError, match=told):
        edited(unet, function, mid, **options)
    assert state(unet) == before


def test_edits_that_are_wrong_at_once(unet):
    hooks = AttentionHooks(unet)
    with pytest.raises(
        CaptureError, match=r"on must be one of q, k, v, .*out\. Got 'mask' instead"
    ):
        hooks.edit(zero, on="mask")
    with pytest.raises(CaptureError, match="heads must be numbers of heads, or None for all"):
        hooks.edit(zero, heads=[])


def test_an_edit_of_a_layer_that_did_not_run_is_missed(unet):
    block = unet.mid_block.attentions[0]
    block.forward = lambda hidden_states, *args, **kwargs: (hidden_states,)
    with pytest.raises(CaptureError, match=f"1 of 1 layers were not observed.*{MID}"):
        edited(unet, zero, mid)


def test_gradients_flow_through_edits(unet):
    """As they do through the same sum written into the model."""

    def gradient(unet, hooks) -> torch.Tensor:
        latent, t, words = inputs()
        words.requires_grad_(True)
        if hooks is None:
            unet(latent, t, words).sample.square().sum().backward()
        else:
            with hooks:
                unet(latent, t, words).sample.square().sum().backward()
        return words.grad

    hooks = AttentionHooks(unet)
    hooks.edit(lambda probs, call: probs * 0.5, cross)
    hooks.edit(lambda out, call: out * 3, cross, on="out", heads=[0])
    truth = copy.deepcopy(unet)
    with torch.no_grad():
        weight = truth.get_submodule(CROSS).to_out[0].weight
        weight *= 0.5
        weight[:, :16] *= 3
    expected = gradient(truth, None)
    torch.testing.assert_close(gradient(unet, hooks), expected, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(gradient(unet, None), expected, rtol=1e-2)


def test_checkpointing_refuses_edits_but_for_passes_without_gradients(unet):
    unet.train()
    unet.enable_gradient_checkpointing()
    hooks = AttentionHooks(unet, missing="ignore")
    hooks.edit(zero, mid)
    with hooks, pytest.raises(CaptureError, match="disable_gradient_checkpointing"):
        unet(*inputs())
    ablated = edited(unet, zero, mid)
    unet.disable_gradient_checkpointing()
    assert torch.equal(edited(unet, zero, mid), ablated)
