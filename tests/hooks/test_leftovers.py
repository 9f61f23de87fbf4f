"""What a capture leaves behind (nothing), what of the user's stays, and threads side by side."""

import gc
import threading
import weakref

import pytest
import torch
from diffusers.models.attention_processor import (
    AttnProcessor,
)

import attnprobe as ap
from attnprobe.errors import CaptureError
from attnprobe.hooks import AttentionHooks, Keep
from tests.conftest import small_unet
from tests.hooks.small import (
    CROSS,
    MID,
    by_processor,
    captured,
    every_head,
    run,
    same_maps,
    state,
)


@by_processor
@pytest.mark.parametrize("keep", [None, Keep("q", "k", "v", "out")])
def test_a_pass_that_raises_midway_leaves_nothing(processor, keep):
    unet = small_unet()
    if processor is not None:
        unet.set_attn_processor(processor)
    layer = unet.get_submodule(CROSS)
    layer.to_out[0].register_forward_pre_hook(lambda module, args: 1 / 0)
    before = state(unet)
    capture = ap.capture(unet, keep=keep)
    with pytest.raises(ZeroDivisionError), capture:
        run(unet)
    assert state(unet) == before
    del before, capture
    gone = weakref.ref(unet)
    del unet, layer
    gc.collect()
    assert gone() is None


def test_hooks_and_captures_that_are_kept_do_not_hold_the_model():
    unet = small_unet()
    hooks = AttentionHooks(unet)
    hooks.add(lambda call: None)
    with ap.capture(unet) as capture, hooks:
        run(unet)
    gone = weakref.ref(unet)
    del unet
    gc.collect()
    assert gone() is None
    assert capture[MID].shape == (1, 64, 64)
    assert capture.coverage()[0]["reason"] == ""
    with (
        pytest.raises(CaptureError, match="the UNet2DConditionModel of these hooks is gone"),
        hooks,
    ):
        pass


def test_the_users_own_hooks_stay_and_go_on_working(unet):
    """Those put on before the block, and those put on inside it."""
    seen = []
    layer = unet.get_submodule(MID)
    layer.register_forward_hook(lambda *args: seen.append("early"))
    with ap.capture(unet):
        layer.register_forward_pre_hook(lambda *args: seen.append("late"))
        run(unet)
    assert seen == ["late", "early"]
    run(unet)
    assert seen == ["late", "early"] * 2


def test_a_hook_of_the_users_that_raises_before_a_layer_begins(unet):
    """The layer has not begun, so the one around it must not be taken for ended."""
    layer = unet.get_submodule(MID)
    failing = layer.register_forward_pre_hook(lambda *args: 1 / 0, prepend=True)
    before = state(unet)
    with pytest.raises(ZeroDivisionError), ap.capture(unet):
        run(unet)
    assert state(unet) == before
    failing.remove()
    captured(unet, lambda: run(unet))


def test_an_override_of_the_users_stays(unet):
    unet.set_attn_processor(AttnProcessor())
    layer, counted = unet.get_submodule(MID), []
    scores = layer.get_attention_scores

    def counting(query, key, attention_mask=None):
        counted.append(1)
        return scores(query, key, attention_mask)

    layer.get_attention_scores = counting
    captured(unet, lambda: run(unet))
    assert len(counted) == 2
    assert layer.get_attention_scores is counting


def test_an_override_made_inside_the_block_stays_and_holds_no_capture(unet):
    unet.set_attn_processor(AttnProcessor())
    layer, counted = unet.get_submodule(MID), []
    plain = run(unet)
    with ap.capture(unet) as capture:
        scores = layer.get_attention_scores

        def counting(query, key, attention_mask=None):
            counted.append(1)
            return scores(query, key, attention_mask)

        layer.get_attention_scores = counting
        run(unet)
    assert layer.get_attention_scores is counting
    gone = weakref.ref(capture)
    del capture
    gc.collect()
    assert gone() is None
    assert torch.equal(run(unet), plain)
    assert len(counted) == 2
    assert captured(unet, lambda: run(unet))[MID].shape == (1, 64, 64)


def in_threads(*works) -> None:
    """Run them at once, each in a thread; what one raises is raised."""
    raised: list[BaseException] = []

    def guarded(work):
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if raised:
        raise raised[0]


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("models", [1, 2])
@by_processor
def test_two_threads_each_with_its_own_capture(processor, models, last):
    """On two models or on one, with other inputs; their blocks overlap and end in either order."""
    first = small_unet()
    unets = [first, small_unet(block_out_channels=(8, 16)) if models == 2 else first]
    for unet in unets:
        if processor is not None:
            unet.set_attn_processor(processor)
    sizes = [(12, 8), (8, 10)]
    alone, before = [], [state(unet) for unet in unets]
    for unet, size in zip(unets, sizes, strict=True):
        with ap.capture(unet, keep=every_head) as capture:
            plain = run(unet, 2, size)
        alone.append((capture, plain))
    together: dict[int, tuple] = {}
    both_open = threading.Barrier(2, timeout=60)
    other_ended = threading.Event()

    def work(number):
        with ap.capture(unets[number], keep=every_head) as capture:
            both_open.wait()
            outputs = []
            for turn in range(4 if number == last else 3):
                if turn == 3:
                    assert other_ended.wait(60)
                capture.new_step()
                outputs.append(run(unets[number], 2, sizes[number]))
        other_ended.set()
        together[number] = capture, outputs

    in_threads(lambda: work(0), lambda: work(1))
    for number in range(2):
        capture, outputs = together[number]
        expected, plain = alone[number]
        assert all(torch.equal(output, plain) for output in outputs)
        assert {row["calls"] for row in capture.layers} == {4 if number == last else 3}
        same_maps(capture, expected)
    assert [state(unet) for unet in unets] == before


@pytest.mark.parametrize("name", ["", MID], ids=["denoiser", "layer"])
def test_a_block_that_ends_while_another_thread_is_among_its_hooks(unet, name):
    """Torch has listed the hooks already when they are removed, and calls them all the same."""
    inside, ended = threading.Event(), threading.Event()

    def until_the_block_has_ended(module, args):
        inside.set()
        assert ended.wait(60)

    plain, outputs = run(unet), []
    thread = threading.Thread(target=lambda: outputs.append(run(unet)))
    with AttentionHooks(unet, missing="ignore"):
        module = unet.get_submodule(name)
        user = module.register_forward_pre_hook(until_the_block_has_ended, prepend=True)
        thread.start()
        assert inside.wait(60)
    ended.set()
    thread.join(60)
    user.remove()
    assert len(outputs) == 1
    assert torch.equal(outputs[0], plain)
