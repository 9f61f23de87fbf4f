"""The registry: observers, each with its selection; blocks that nest and are entered again."""

from contextlib import ExitStack
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import attnprobe as ap
from attnprobe.errors import CaptureError
from attnprobe.hooks import AttentionHooks, Moment, TokenMaps, attention_layers
from tests.conftest import small_unet
from tests.hooks.small import CROSS, MID, eager, inputs, passes, run, state

only_mid = ap.Layers(names=(MID,))


def names(calls) -> list[str]:
    return [call.name for call in calls]


def test_each_observer_sees_its_own_layers(unet):
    every, selfs, middle = [], [], []
    hooks = AttentionHooks(unet)
    hooks.add(every.append)
    hooks.add(selfs.append, ap.Layers(kind="self"))
    hooks.add(middle.append, ap.Layers(block="mid", kind="cross"))
    with hooks:
        run(unet)
    layers = attention_layers(unet)
    assert sorted(names(every)) == sorted(layer.name for layer in layers)
    assert sorted(names(selfs)) == sorted(la.name for la in layers if la.kind == "self")
    assert names(middle) == [CROSS]


def test_observers_of_one_layer_are_given_the_same_call(unet):
    one, two = [], []
    hooks = AttentionHooks(unet)
    hooks.add(one.append, only_mid)
    hooks.add(two.append, only_mid)
    with hooks:
        run(unet)
    assert one == two
    assert len(one) == 1


def test_tensors_are_given_by_name(unet):
    def observe(call, *, q, k, v, mask, logits, probs, out):
        assert q is call.q
        assert k is call.k
        assert v is call.v
        assert mask is None
        assert out is call.out
        torch.testing.assert_close(probs.double(), eager(call), rtol=0, atol=1e-6)
        torch.testing.assert_close(logits.softmax(-1), probs)
        seen.append(call.name)

    seen: list[str] = []
    hooks = AttentionHooks(unet)
    hooks.add(observe, only_mid, tensors=("q", "k", "v", "mask", "logits", "probs", "out"))
    with hooks:
        run(unet)
    assert seen == [MID]


def test_observers_run_without_gradients(unet):
    enabled = []
    hooks = AttentionHooks(unet)
    hooks.add(lambda call: enabled.append(torch.is_grad_enabled()))
    with hooks:
        unet(*inputs())
    assert set(enabled) == {False}


@given(chosen=st.sets(st.integers(0, 4), min_size=1), count=st.integers(5, 6))
@settings(max_examples=10, deadline=None)
def test_an_observer_sees_the_steps_it_chose(chosen, count):
    unet = small_unet(block_out_channels=(8, 8))
    seen = []
    hooks = AttentionHooks(unet)
    hooks.add(lambda call: seen.append((call.step, call.timestep)), only_mid, steps=chosen)
    with hooks:
        passes(unet, range(900, 900 - count, -1))
    assert seen == [(step, 900.0 - step) for step in sorted(chosen)]


def test_steps_by_a_condition_and_by_numbers_side_by_side(unet):
    late, first = [], []
    hooks = AttentionHooks(unet)
    hooks.add(lambda c: late.append(c.timestep), only_mid, steps=lambda m: (m.timestep or 0) < 500)
    hooks.add(lambda c: first.append(c.timestep), only_mid, steps=[0])
    with hooks:
        passes(unet, (900, 600, 300, 10))
    assert late == [300, 10]
    assert first == [900]


def test_a_condition_is_asked_once_a_pass(unet):
    asked: list[Moment] = []
    hooks = AttentionHooks(unet)
    hooks.add(lambda call: None, steps=lambda moment: not asked.append(moment))
    with hooks:
        passes(unet, (900, 600))
    assert [moment.step for moment in asked] == [0, 1]


def test_steps_that_never_ran(unet):
    hooks = AttentionHooks(unet)
    hooks.add(lambda call: None, steps=[7])
    told = "none of the steps chosen ran; there were steps 0 to 1"
    with pytest.raises(CaptureError, match=told), hooks:
        passes(unet, (900, 600))


@pytest.mark.parametrize("steps", [[-1], 3, ["0"], [0.5], "01"])
def test_steps_that_are_none(unet, steps):
    hooks = AttentionHooks(unet)
    with pytest.raises(CaptureError, match=r"steps must be numbers counted from 0.*Got"):
        hooks.add(lambda call: None, steps=steps)


def test_what_is_no_observer_is_refused(unet):
    hooks = AttentionHooks(unet)
    with pytest.raises(CaptureError, match=r"must be a function, called as f\(call\). Got HeadM"):
        hooks.add(ap.HeadMean())
    with pytest.raises(CaptureError, match="must be a function"):
        hooks.edit("zero")
    with pytest.raises(CaptureError, match=r"layers must be Layers\(...\). Got 'attn1' instead"):
        hooks.add(print, layers="attn1")
    with pytest.raises(CaptureError, match=r"tensors must be of q, k, v.*Got 'weights' instead"):
        hooks.add(print, tensors=("q", "weights"))
    with pytest.raises(CaptureError, match=r"policy must be one of tap.*Got 'flash' instead"):
        AttentionHooks(unet, policy="flash")
    with pytest.raises(CaptureError, match="missing must be one of raise, ignore"):
        AttentionHooks(unet, missing="warn")
    with pytest.raises(CaptureError, match=r"such as pipe.unet.*Got str instead"):
        AttentionHooks("unet")


def test_removed_before_inside_and_twice(unet):
    never, once, always = [], [], []
    hooks = AttentionHooks(unet)
    handle = hooks.add(never.append, only_mid)
    other = hooks.add(once.append, only_mid)
    hooks.add(always.append, only_mid)
    hooks.remove(handle)
    with hooks:
        run(unet)
        hooks.remove(other)
        run(unet)
    assert (len(never), len(once), len(always)) == (0, 1, 2)
    with pytest.raises(CaptureError, match="that handle is not registered here"):
        hooks.remove(other)
    with pytest.raises(CaptureError, match="that handle is not registered here"):
        AttentionHooks(unet).remove(other)


def test_an_observer_that_removes_itself_at_its_first_call(unet):
    seen = []
    hooks = AttentionHooks(unet)

    def once(call):
        seen.append(call.name)
        hooks.remove(handle)

    handle = hooks.add(once)
    others = []
    hooks.add(others.append)
    with hooks:
        run(unet)
    assert len(seen) == 1
    assert len(others) == len(attention_layers(unet))


def test_an_observer_added_inside_the_block(unet):
    seen = []
    hooks = AttentionHooks(unet)
    with hooks:
        run(unet)
        handle = hooks.add(lambda call: seen.append(call.step), only_mid)
        passes(unet, (200, 100))
    assert seen == [1, 2]
    assert hooks.coverage(handle)[0]["seen"] == 2


def test_an_observer_added_during_a_pass_sees_the_next(unet):
    seen = []
    hooks = AttentionHooks(unet)

    def add(call):
        if not added:
            added.append(hooks.add(lambda call: seen.append(call.step), ap.Layers(kind="self")))

    added: list = []
    hooks.add(add)
    with hooks:
        passes(unet, (200, 100))
    assert set(seen) == {1}
    assert len(seen) == sum(layer.kind == "self" for layer in attention_layers(unet))


def test_an_observer_added_after_the_last_pass(unet):
    hooks = AttentionHooks(unet)

    def work():
        with hooks:
            run(unet)
            hooks.add(print)

    with pytest.raises(CaptureError, match="added after the last pass, so it saw none"):
        work()


def test_blocks_of_the_same_hooks_follow_each_other(unet):
    seen = []
    hooks = AttentionHooks(unet)
    handle = hooks.add(lambda call: seen.append(call.step), only_mid)
    with hooks:
        passes(unet, (900, 800))
    with hooks:
        passes(unet, (900,))
    assert seen == [0, 1, 0]
    (row,) = hooks.coverage(handle)
    assert (row["wanted"], row["seen"], row["reason"]) == (1, 1, "")
    with pytest.raises(CaptureError, match="did not run inside the block"), hooks:
        pass


def test_what_an_earlier_block_saw_does_not_count(unet):
    hooks = AttentionHooks(unet)
    hooks.add(lambda call: None, only_mid)
    with hooks:
        run(unet)
    block = unet.mid_block.attentions[0]
    block.forward = lambda hidden_states, *args, **kwargs: (hidden_states,)
    with pytest.raises(CaptureError, match=f"1 of 1 layers.*did not run: {MID}"), hooks:
        run(unet)


def test_entering_twice_at_once_is_refused_and_harms_nothing(unet):
    seen = []
    hooks = AttentionHooks(unet)
    hooks.add(seen.append, only_mid)
    before = state(unet)
    with hooks:
        with pytest.raises(CaptureError, match="open already"), hooks:
            pass
        run(unet)
    assert len(seen) == 1
    assert state(unet) == before


def test_hooks_can_be_entered_again_after_a_block_that_failed_to_open(unet, monkeypatch):
    hooks = AttentionHooks(unet)
    seen = []
    hooks.add(seen.append, only_mid)
    before = state(unet)
    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "register_forward_hook", None)
        with pytest.raises(TypeError), hooks:
            pass
    for module in unet.modules():  # torch's own method was broken, so one pre-hook is without it
        module._forward_pre_hooks.clear()
        module._forward_pre_hooks_with_kwargs.clear()
    assert state(unet) == before
    with hooks:
        run(unet)
    assert len(seen) == 1


def test_an_exception_in_an_observer_ends_the_pass_and_leaves_nothing(unet):
    def fail(call):
        raise ZeroDivisionError

    before, plain = state(unet), run(unet)
    hooks = AttentionHooks(unet)
    handle = hooks.add(fail, only_mid)
    with pytest.raises(ZeroDivisionError), hooks:
        run(unet)
    assert state(unet) == before
    hooks.remove(handle)
    seen = []
    hooks.add(seen.append)
    with hooks:
        assert torch.equal(run(unet), plain)
    assert len(seen) == len(attention_layers(unet))


def test_a_pass_that_failed_may_be_run_again_in_the_same_block(unet):
    """But then some layers were seen at one step more than the others, and that is said."""
    calls = []

    def fail_once(call):
        calls.append(call.name)
        if len(calls) == 3:
            raise ZeroDivisionError

    hooks = AttentionHooks(unet)
    hooks.add(fail_once)

    def work():
        with hooks:
            with pytest.raises(ZeroDivisionError):
                passes(unet, (900,))
            passes(unet, (800,))

    with pytest.raises(CaptureError, match="did not run at 1 of the steps, first at step 0"):
        work()
    assert calls[:3] == calls[3:6]
    assert len(calls) == 3 + len(attention_layers(unet))


def test_an_observer_computing_attention_of_its_own_is_not_heard(unet):
    """By its own registry, by one around it, or by one inside it."""

    def observe(call):
        F.scaled_dot_product_attention(call.q, call.k, call.v)
        torch.bmm(call.q.flatten(0, 1), call.k.flatten(0, 1).transpose(1, 2))

    seen: dict[str, list] = {"outer": [], "inner": []}
    outer, middle, inner = (AttentionHooks(unet) for _ in range(3))
    outer.add(lambda call: seen["outer"].append(call.name))
    middle.add(observe)
    inner.add(lambda call: seen["inner"].append(call.name))
    with outer, middle, inner:
        run(unet)
    assert sorted(seen["outer"]) == sorted(la.name for la in attention_layers(unet))
    assert seen["outer"] == seen["inner"]


def test_a_recorder_that_uses_attention_inside_another_capture(unet):
    words = TokenMaps({"cat": (1, 2)})
    with ap.capture(unet) as outer, ap.capture(unet, ap.Layers(kind="cross"), words) as inner:
        run(unet)
    assert [row["name"] for row in outer.layers] == [la.name for la in attention_layers(unet)]
    expected = outer[CROSS][..., 1:3].sum(-1, keepdim=True)
    torch.testing.assert_close(inner[CROSS], expected)


def test_an_observer_may_capture_another_model(unet):
    other = small_unet(block_out_channels=(8, 8))
    found = []

    def observe(call):
        with ap.capture(other, only_mid) as capture:
            run(other)
        found.append(capture[MID])

    with ap.capture(other, only_mid) as alone:
        run(other)
    hooks = AttentionHooks(unet)
    hooks.add(observe, only_mid)
    with hooks:
        run(unet)
    assert len(found) == 1
    assert torch.equal(found[0], alone[MID])


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_blocks_end_in_any_order(unet, order):
    before = state(unet)
    seen: list[list] = [[], [], []]
    blocks = [AttentionHooks(unet) for _ in range(3)]
    for block, calls in zip(blocks, seen, strict=True):
        block.add(calls.append, only_mid)
        block.__enter__()
    for ended, number in enumerate(order):
        run(unet)
        blocks[number].__exit__(None, None, None)
        assert len(seen[number]) == ended + 1
    run(unet)
    assert [len(seen[number]) for number in order] == [1, 2, 3]
    assert state(unet) == before


def test_hooks_of_several_models_at_once(unet):
    other = small_unet(block_out_channels=(8, 16))
    seen: dict[str, list] = {"unet": [], "other": []}
    with ExitStack() as stack:
        for name, model in (("unet", unet), ("other", other)):
            hooks = AttentionHooks(model)
            hooks.add(lambda call, name=name: seen[name].append(call.q.shape[-1]), only_mid)
            stack.enter_context(hooks)
        run(unet)
        run(other)
        run(unet)
    assert seen == {"unet": [16, 16], "other": [8]}


def test_one_unet_under_two_registries_and_two_captures(unet):
    calls: list[list] = [[], []]
    blocks = [AttentionHooks(unet), AttentionHooks(unet)]
    for block, seen in zip(blocks, calls, strict=True):
        block.add(seen.append)
    with blocks[0], ap.capture(unet) as one, blocks[1], ap.capture(unet) as two:
        run(unet)
    assert names(calls[0]) == names(calls[1])
    for name in names(calls[0]):
        assert torch.equal(one[name], two[name])
