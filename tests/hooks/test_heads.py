"""Heads that are chosen: as if the others had not been there."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attnprobe as ap
from attnprobe import AttnProbeError
from attnprobe.hooks import AttentionHooks, Entropy, Features, PerHead
from attnprobe.hooks.heads import second_eigenvalues
from attnprobe.recipe import load_recipe
from tests.conftest import small_unet
from tests.hooks.calls import calls, eager
from tests.hooks.small import by_processor, run, run_flux, small_flux

SELF = {"kind": "self"}


@pytest.fixture
def unet():
    return small_unet()


def captured(model, keep=None, go=run, **layers):
    with ap.capture(model, ap.Layers(**layers), keep) as capture:
        out = go(model)
    return capture, out


@settings(max_examples=60, deadline=None)
@given(calls(), st.data())
def test_a_call_of_some_heads_has_their_probabilities(call, data):
    numbers = st.lists(st.integers(0, call.heads - 1), min_size=1, unique=True)
    heads = data.draw(numbers)
    weights = data.draw(st.lists(st.floats(0.1, 9), min_size=len(heads), max_size=len(heads)))
    part, probs = call.of_heads(dict(zip(heads, weights, strict=True))), eager(call)[:, heads]
    close = {"rtol": 0, "atol": 2e-6, "check_dtype": False}
    torch.testing.assert_close(part.probs(), probs, **close)
    shares = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    mean = torch.einsum("bhqk,h->bqk", probs.double(), shares)
    torch.testing.assert_close(ap.HeadMean().record(part), mean, **close)
    torch.testing.assert_close(part.over_heads(part.probs()), mean, **close)
    assert torch.equal(part.out, call.out[:, heads])


@by_processor
@pytest.mark.parametrize("heads", [(1,), (1, 0), 0])
def test_what_is_kept_is_what_a_whole_capture_has_of_those_heads(unet, processor, heads):
    if processor is not None:
        unet.set_attn_processor(processor)
    whole, plain = captured(unet, PerHead(), **SELF)
    part, out = captured(unet, PerHead(), **SELF, heads=heads)
    mean, _ = captured(unet, **SELF, heads=heads)
    chosen = [heads] if isinstance(heads, int) else list(heads)
    assert torch.equal(out, plain)
    for name in whole.records:
        assert torch.equal(part[name], whole[name][:, chosen])
        torch.testing.assert_close(mean[name], whole[name][:, chosen].mean(1))
    assert part.nbytes == whole.nbytes * len(chosen) // whole.layers[0]["heads"]


def test_weights_are_shares_of_the_mean(unet):
    whole, _ = captured(unet, PerHead(), **SELF)
    found, _ = captured(unet, **SELF, heads={0: 3.0, 1: 1.0})
    for name in whole.records:
        torch.testing.assert_close(found[name], 0.75 * whole[name][:, 0] + 0.25 * whole[name][:, 1])


def test_the_top_heads_have_the_largest_second_eigenvalues(unet):
    whole, _ = captured(unet, PerHead(), **SELF)
    found, _ = captured(unet, PerHead(), **SELF, top_heads=1)
    for name in whole.records:
        chains = whole[name].double().numpy()
        second = np.sort(np.abs(np.linalg.eigvals(chains)), -1)[..., -2].mean(0)
        assert torch.equal(found[name], whole[name][:, [int(second.argmax())]])


def test_eigenvalues_of_joint_attention_are_of_the_image_s_part(unet):
    flux, seen = small_flux(), []
    hooks = AttentionHooks(flux)
    hooks.add(lambda call: seen.append((call, second_eigenvalues(call))))
    with hooks:
        run_flux(flux)
    for call, values in seen:
        probs = call.probs()[:, :, call.image_queries(), call.image_keys()].double()
        chains = (probs / probs.sum(-1, keepdim=True)).numpy()
        expected = np.sort(np.abs(np.linalg.eigvals(chains)), -1)[..., -2].mean(0)
        assert values == pytest.approx(expected, abs=1e-6)


def test_of_many_tokens_two_eigenvalues_are_sought_to_the_same_end(unet):
    seen = []
    hooks = AttentionHooks(unet)
    hooks.add(lambda call: seen.append((call, second_eigenvalues(call))), ap.Layers(**SELF))
    with hooks:
        run(unet, size=(32, 32))
    assert max(call.shape[2] for call, _ in seen) > 64
    for call, values in seen:
        found = np.sort(np.abs(np.linalg.eigvals(call.probs().double().numpy())), -1)[..., -2]
        assert values == pytest.approx(found.mean(0), abs=1e-6)


@pytest.mark.parametrize("layers", [{"heads": (1,)}, {"top_heads": 1}])
def test_a_plan_knows_of_heads(unet, layers):
    latent, t, text = torch.zeros(1, 4, 16, 16), 300, torch.zeros(1, 7, 24)
    inputs = {"sample": latent, "timestep": t, "encoder_hidden_states": text}
    planned = ap.plan(unet, inputs, ap.Layers(**SELF, **layers), PerHead())
    assert planned.total == captured(unet, PerHead(), **SELF, **layers)[0].nbytes


def test_what_is_wrong_is_told(unet):
    with pytest.raises(AttnProbeError, match=r"Layers.heads: .*attn1 has heads 0 to 1. Got 7 ins"):
        captured(unet, **SELF, heads=(0, 7))
    with pytest.raises(AttnProbeError, match="looks from the image at something else"):
        captured(unet, kind="cross", top_heads=1)
    with pytest.raises(AttnProbeError, match="heads says which heads, top_heads how many"):
        ap.Layers(heads=(1,), top_heads=2)
    with pytest.raises(AttnProbeError, match=r"a head is given twice. Got \(1, 1\) instead"):
        ap.Layers(heads=(1, 1))
    with pytest.raises(AttnProbeError, match="has no projection to_out of its own"):
        captured(unet, Features(projected=True), **SELF, heads=(1,))
    with pytest.raises(AttnProbeError, match="an edit's heads are said by its own heads="):
        AttentionHooks(unet).edit(lambda probs, call: probs, ap.Layers(heads=(0,)))
    captured(unet, Entropy(), **SELF, heads=(1,))


@pytest.mark.parametrize(
    ("written", "heads"),
    [("heads: [0, 2]", (0, 2)), ("heads: 3", 3), ("heads: {1: 0.7, 2: 0.3}", {1: 0.7, 2: 0.3})],
)
def test_a_recipe_names_heads(written, heads):
    recipe = load_recipe("diffseg", [f"probe.layers={{kind: self, {written}}}"])
    assert recipe.probe.layers.heads == heads
    recipe = load_recipe("diffseg", ["probe.layers={kind: self, top_heads: 2}"])
    assert recipe.probe.layers.top_heads == 2
