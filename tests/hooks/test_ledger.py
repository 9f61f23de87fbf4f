"""The ledger says what was not seen and why: idle layers, kernels, threads, strange models."""

import threading
from contextlib import suppress

import pytest
import torch
import torch.nn.functional as F
from diffusers import PyramidAttentionBroadcastConfig
from diffusers.hooks import apply_pyramid_attention_broadcast
from torch import nn

import attnprobe as ap
from attnprobe.errors import CaptureError
from attnprobe.hooks import AttentionHooks, attention_layers
from tests.conftest import small_unet
from tests.hooks.small import CROSS, MID, eager, passes, run

only_mid = ap.Layers(names=(MID,))


def names(calls) -> list[str]:
    return [call.name for call in calls]


def test_coverage_tells_what_each_observer_saw(unet):
    hooks = AttentionHooks(unet)
    handle = hooks.add(lambda call: None, ap.Layers(block="mid"), steps=[0, 2])
    with hooks:
        passes(unet, (900, 800, 700))
    assert hooks.coverage(handle) == [
        {"name": MID, "kind": "self", "wanted": 2, "seen": 2, "reason": ""},
        {"name": CROSS, "kind": "cross", "wanted": 2, "seen": 2, "reason": ""},
    ]


def untappable(attn, hidden_states, encoder_hidden_states=None, **kwargs):
    """A processor that writes attention out in a way no tap sees."""
    other = hidden_states if encoder_hidden_states is None else encoder_hidden_states
    q, k, v = (
        attn.head_to_batch_dim(part)
        for part in (attn.to_q(hidden_states), attn.to_k(other), attn.to_v(other))
    )
    probs = torch.einsum("bqd,bkd->bqk", q, k).mul(attn.scale).softmax(-1)
    return attn.to_out[0](attn.batch_to_head_dim(torch.einsum("bqk,bkd->bqd", probs, v)))


def test_missing_layers_are_named_with_the_reasons(unet):
    plain = run(unet)
    unet.get_submodule(MID).processor = untappable
    unet.up_blocks[0].attentions[0].forward = lambda hidden_states, *a, **k: (hidden_states,)
    idle = [la.name for la in attention_layers(unet) if la.name.startswith("up_blocks.0.attentio")]
    hooks = AttentionHooks(unet)
    handle = hooks.add(lambda call: None)
    with pytest.raises(CaptureError) as caught, hooks:
        run(unet)
    told = str(caught.value)
    count = len(attention_layers(unet))
    assert f"its processor function uses a kernel that can't be tapped: {MID}" in told
    assert "the layer did not run: " + ", ".join(idle[:2]) in told
    assert told.startswith(f"{1 + len(idle[:2])} of {count} layers were not observed")
    reasons = {row["name"]: row["reason"] for row in hooks.coverage(handle)}
    assert "can't be tapped" in reasons[MID]
    assert reasons[CROSS] == ""
    torch.testing.assert_close(run(small_unet()), plain)


def test_a_layer_that_ran_at_some_steps_only(unet):
    block = unet.mid_block.attentions[0]
    forward = block.forward
    hooks = AttentionHooks(unet)
    hooks.add(lambda call: None)

    def work():
        with hooks:
            passes(unet, (900,))
            block.forward = lambda hidden_states, *args, **kwargs: (hidden_states,)
            passes(unet, (800, 700))
            block.forward = forward
            passes(unet, (600,))

    with pytest.raises(CaptureError, match="did not run at 2 of the steps, first at step 1: mid_"):
        work()


def test_a_layer_that_a_cache_serves_at_some_steps(unet):
    """diffusers' pyramid attention broadcast: computed at steps 0 and 2, served at 1 and 3."""
    broadcast = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        spatial_attention_timestep_skip_range=(-1, 1001),
        spatial_attention_block_identifiers=("mid_block.*attn1",),
        current_timestep_callback=lambda: 500,
    )
    apply_pyramid_attention_broadcast(unet, broadcast)
    hooks = AttentionHooks(unet)
    handle = hooks.add(lambda call: None)
    with pytest.raises(CaptureError) as caught, hooks:
        passes(unet, (900, 800, 700, 600))
    assert "can't be tapped" not in str(caught.value)
    why = (
        "its output came from a cache (pyramid_attention_broadcast) at 2 of the steps, first at "
        "step 1"
    )
    assert f"1 of {len(attention_layers(unet))} layers were not observed: {why}: {MID}" in str(
        caught.value
    )
    rows = {row["name"]: row for row in hooks.coverage(handle)}
    assert (rows[MID]["wanted"], rows[MID]["seen"], rows[MID]["reason"]) == (4, 2, why)


def test_a_layer_whose_processor_answers_from_a_cache_of_its_own(unet):
    """A kernel that was tapped at other steps isn't one that can't be tapped."""
    module = unet.get_submodule(MID)
    computed = module.processor
    kept = []

    def cached(attn, hidden_states, *args, **kwargs):
        if not kept:
            kept.append(computed(attn, hidden_states, *args, **kwargs))
        return kept[0]

    module.processor = cached
    hooks = AttentionHooks(unet)
    hooks.add(lambda call: None)
    with pytest.raises(CaptureError) as caught, hooks:
        passes(unet, (900, 800))
    assert (
        "it computed no attention that could be seen at 1 of the steps, first at step 1: it had "
        f"its output from a cache there, or another kernel than else: {MID}" in str(caught.value)
    )


def test_missing_may_be_ignored(unet):
    unet.get_submodule(MID).processor = untappable
    hooks = AttentionHooks(unet, missing="ignore")
    seen = []
    hooks.add(seen.append)
    with hooks:
        run(unet)
    assert len(seen) == len(attention_layers(unet)) - 1


def test_an_exception_of_the_users_is_not_hidden_by_the_ledger(unet):
    hooks = AttentionHooks(unet)
    hooks.add(print)
    with pytest.raises(KeyError, match="mine"), hooks:
        raise KeyError("mine")


def test_a_model_run_in_another_thread(unet):
    hooks = AttentionHooks(unet)
    seen = []
    hooks.add(seen.append)

    def work():
        with hooks:
            thread = threading.Thread(target=run, args=(unet,))
            thread.start()
            thread.join()

    with pytest.raises(CaptureError, match="ran in another thread; open the block there"):
        work()
    assert seen == []


def test_another_threads_pass_during_one_of_ours(unet):
    """In the midst of a pass of this thread the model runs in another: only ours is told."""
    calls, steps = [], []

    def observe(call):
        calls.append(call.name)
        steps.append(call.step)
        if len(calls) == 3:
            thread = threading.Thread(target=run, args=(unet,))
            thread.start()
            thread.join()

    hooks = AttentionHooks(unet)
    hooks.add(observe)
    with hooks:
        run(unet)
    assert sorted(calls) == sorted(layer.name for layer in attention_layers(unet))
    assert set(steps) == {0}


class OwnAttention(nn.Module):
    """Attention as somebody writes it who doesn't use diffusers' classes."""

    def __init__(self):
        super().__init__()
        self.num_heads = 3
        self.qkv, self.out = nn.Linear(12, 36), nn.Linear(12, 12)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, 4)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class OwnDenoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([OwnAttention(), OwnAttention()])
        self.torchs = nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, x, t=None):
        for block in self.blocks:
            x = x + block(x)
        return x + self.torchs(x, x, x)[0]


def test_a_denoiser_that_is_not_diffusers():
    torch.manual_seed(0)
    model, x = OwnDenoiser(), torch.randn(2, 5, 12)
    with pytest.raises(CaptureError, match="OwnDenoiser has no attention layer known"):
        AttentionHooks(model)
    hooks = AttentionHooks(model, classes=(OwnAttention,))
    calls = []
    hooks.add(calls.append)
    plain = model(x)
    with hooks:
        assert torch.equal(model(x, t=torch.tensor([7, 7])), plain)
    assert names(calls) == ["blocks.0", "blocks.1"]
    for call in calls:
        torch.testing.assert_close(call.probs().double(), eager(call), rtol=0, atol=1e-6)
    assert (calls[0].timestep, calls[0].query_grid, calls[0].heads) == (7.0, None, 3)
    with ap.capture(model, classes=(OwnAttention,)) as capture:
        model(x)
    assert capture["blocks.1"].shape == (2, 5, 5)


class Forgiving(nn.Module):
    """An attention layer around another, which does without it where it fails."""

    def __init__(self):
        super().__init__()
        self.inner, self.num_heads = OwnAttention(), 1

    def forward(self, x):
        with suppress(ZeroDivisionError):
            x = self.inner(x)
        q = x[:, None]
        return F.scaled_dot_product_attention(q, q, q)[:, 0]


@pytest.mark.parametrize("failing", [False, True])
def test_a_layer_within_a_layer(failing):
    """If a hook of the user's keeps the inner from beginning, the outer goes on being at work."""
    model = nn.Sequential(Forgiving())
    if failing:
        model[0].inner.register_forward_pre_hook(lambda module, args: 1 / 0)
    hooks = AttentionHooks(model, missing="ignore", classes=(Forgiving, OwnAttention))
    calls = []
    hooks.add(calls.append)
    x = torch.randn(1, 5, 12)
    plain = model(x)
    with hooks:
        assert torch.equal(model(x), plain)
    assert names(calls) == (["0"] if failing else ["0.inner", "0"])


def test_attention_of_torchs_own_module_is_reported_as_not_tappable():
    model = OwnDenoiser()
    with (
        pytest.raises(CaptureError, match="its MultiheadAttention uses a kernel that can't be tap"),
        ap.capture(model, classes=(OwnAttention, nn.MultiheadAttention)),
    ):
        model(torch.randn(1, 5, 12))
