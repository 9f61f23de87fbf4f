"""Edits of queries, keys, values and logits: the same sums as where they are written into weights.

The kernel is left for a softmax of its own, so an edit that changes nothing is compared too.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

import attnprobe as ap
from attnprobe.errors import CaptureError
from attnprobe.hooks import AttentionHooks
from tests.conftest import small_unet
from tests.hooks.small import CROSS, MID, eager, run, run_flux, same_output, small_flux, state

INSIDE = ("q", "k", "v", "logits")
mid = ap.Layers(names=(MID,))
cross = ap.Layers(names=(CROSS,))


def edited(model, function, layers=None, work=run, **options) -> torch.Tensor:
    hooks = AttentionHooks(model)
    hooks.edit(function, layers, **options)
    with hooks:
        return work(model)


@pytest.fixture
def sharp() -> nn.Module:
    """A UNet whose maps are far from flat, so that a change of them shows."""
    unet = small_unet()
    with torch.no_grad():
        for name in (MID, CROSS):
            unet.get_submodule(name).to_q.weight *= 20
    return unet


@pytest.mark.parametrize("on", INSIDE)
@pytest.mark.parametrize("processor", [None, AttnProcessor()], ids=["native", "classic"])
def test_the_identity_changes_by_rounding_only(sharp, on, processor):
    if processor is not None:
        sharp.set_attn_processor(processor)
    plain = run(sharp)
    same_output(edited(sharp, lambda tensor, call: tensor, on=on), plain)
    assert torch.equal(run(sharp), plain)


@pytest.mark.parametrize("on", INSIDE)
def test_the_identity_where_image_and_text_share_a_sequence(on):
    flux = small_flux()
    same_output(edited(flux, lambda tensor, call: tensor, on=on, work=run_flux), run_flux(flux))


@pytest.mark.parametrize("on", ["q", "k", "v"])
@pytest.mark.parametrize("heads", [None, (1,)])
def test_a_factor_is_that_of_the_projections_rows(sharp, on, heads):
    """softmax(c·q kᵀ) v of a head is what c times its rows of to_q make; likewise k and v."""
    found = edited(sharp, lambda tensor, call: tensor * 3, cross, on=on, heads=heads)
    truth = copy.deepcopy(sharp)
    weight = truth.get_submodule(CROSS).get_submodule(f"to_{on}").weight
    width = len(weight) // 2
    with torch.no_grad():
        weight[0 if heads is None else width :] *= 3
    same_output(found, run(truth), 1e-4)
    assert not torch.allclose(found, run(sharp), atol=1e-5)


def test_logits_are_those_before_the_softmax(sharp):
    """softmax(scale · q kᵀ + b) v in float64, b on one key: as an additive mask would."""

    def favour(logits, call):
        logits[..., 2] += 1.5
        return logits

    seen = []
    hooks = AttentionHooks(sharp)
    hooks.edit(favour, cross, on="logits")
    hooks.add(seen.append, cross)
    with hooks:
        run(sharp)
    (call,) = seen
    logits = call.scale * call.q.double() @ call.k.double().mT
    logits[..., 2] += 1.5
    truth = logits.softmax(-1) @ call.v.double()
    torch.testing.assert_close(call.out.double(), truth, rtol=0, atol=1e-5)
    torch.testing.assert_close(call.probs().double(), eager(call), rtol=0, atol=1e-5)


def test_tensors_are_edited_in_the_order_of_the_sum(sharp):
    """In whichever order they are registered: q, k, logits, probs, v, out."""
    outs = []
    hooks = AttentionHooks(sharp)
    for on, factor in [("out", 7), ("probs", 5), ("v", 3), ("logits", 0.5), ("k", 2), ("q", 2)]:
        hooks.edit(lambda tensor, call, factor=factor: tensor * factor, cross, on=on)
    hooks.add(lambda call: outs.append(call), cross)
    with hooks:
        run(sharp)
    (call,) = outs
    logits = 2 * call.scale * call.q.double() @ call.k.double().mT
    truth = 7 * (5 * logits.softmax(-1) @ (3 * call.v.double()))
    torch.testing.assert_close(call.out.double(), truth, rtol=1e-4, atol=1e-4)


class Grouped(nn.Module):
    """Four query heads on two key heads, causal, so that a row's mask is kept."""

    heads = 4

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (-1, 4)).transpose(1, 2) for part in x.split([16, 8, 8], -1))
        out = F.scaled_dot_product_attention(q, k, v, enable_gqa=True, is_causal=True)
        return out.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("on", ["k", "v"])
def test_grouped_heads_have_keys_and_values_of_their_own(on):
    """Head 1 shares its keys with head 0, which is not edited."""
    model = nn.Sequential(Grouped())
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(4))
    plain = model(x).unflatten(-1, (4, 4))
    hooks = AttentionHooks(model, classes=(Grouped,))
    shapes = []
    hooks.edit(lambda t, call: shapes.append(tuple(t.shape)) or t * 2, on=on, heads=(1,))
    with hooks:
        found = model(x).unflatten(-1, (4, 4))
    assert shapes == [(2, 1, 5, 4)]
    assert torch.equal(found[:, :, [0, 2, 3]], plain[:, :, [0, 2, 3]])
    q, k, v = (part.unflatten(-1, (-1, 4)).transpose(1, 2) for part in x.split([16, 8, 8], -1))
    factors = {"k": 1, "v": 1} | {on: 2}
    truth = F.scaled_dot_product_attention(
        q[:, 1], k[:, 0] * factors["k"], v[:, 0] * factors["v"], is_causal=True
    )
    torch.testing.assert_close(found[:, :, 1], truth)


class Written:
    """A processor that computes as the classic one and flips each map."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, *args, **kwargs):
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = attn.to_q(hidden_states), attn.to_k(text), attn.to_v(text)
        q, k, v = map(attn.head_to_batch_dim, (q, k, v))
        probs = attn.get_attention_scores(q, k, None)
        probs.copy_(probs.flip(-1).clone())
        return attn.to_out[0](attn.batch_to_head_dim(torch.bmm(probs, v)))


@pytest.mark.parametrize("on", ["q", "logits"])
def test_what_a_processor_changes_by_itself_is_not_undone(sharp, on):
    module = sharp.get_submodule(MID)
    module.processor = Written()
    before = state(sharp)
    with pytest.raises(CaptureError, match=rf"{MID} changes its probabilities by itself.*on='pro"):
        edited(sharp, lambda tensor, call: tensor, mid, on=on)
    assert state(sharp) == before
    same_output(edited(sharp, lambda tensor, call: tensor, mid, on="v"), run(sharp))
