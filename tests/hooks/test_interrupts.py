"""Ctrl-C at every line of entering and leaving a block: nothing is left, and the next one works."""

import signal
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
import torch
from torch.overrides import TorchFunctionMode

import attnprobe
import attnprobe as ap
from attnprobe.hooks import AttentionHooks, backends, block, overrides
from attnprobe.hooks.tap import Tap
from tests.conftest import small_unet
from tests.hooks.small import MID, run, run_flux, small_flux, state

OURS = str(Path(attnprobe.__file__).parent / "hooks")
TORCHS = (torch.nn.modules.module.__file__, torch.overrides.__file__)


class Presser:
    """Presses Ctrl-C at the n-th line that runs in our files (and torch's hooks and modes).

    Args:
        at: which line.
        signals: whether by a signal; else the line raises.
    """

    def __init__(self, at: int, signals: bool = False) -> None:
        self.at, self.signals, self.count = at, signals, 0

    def __enter__(self):
        sys.settrace(self._begun)
        return self

    def __exit__(self, *exception):
        sys.settrace(None)

    def _begun(self, frame, event, argument):
        name = frame.f_code.co_filename
        if frame.f_code.co_name == "get_submodule":  # thousands of lines that change nothing
            return None
        return self._line if name.startswith(OURS) or name in TORCHS else None

    def _line(self, frame, event, argument):
        if event == "line":
            self.count += 1
            if self.count == self.at:
                sys.settrace(None)
                if not self.signals:
                    raise KeyboardInterrupt
                signal.raise_signal(signal.SIGINT)
        return self._line


class Quiet:
    """A receiver that wants nothing."""

    def entered(self, layer):
        return False

    def receive(self, layer, kernel, given):
        return None

    def strayed(self, layer):
        pass


def one_level():
    """A UNet with two transformer blocks: of lines there are as many kinds as with more."""
    return small_unet(
        block_out_channels=(8,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("UpBlock2D",),
    )


def capturing(unet):
    return ap.capture(unet)


def hooking(unet):
    hooks = AttentionHooks(unet)
    hooks.add(lambda call: None)
    return hooks


def tapping(unet):
    return Tap(unet, ap.hooks.attention_layers(unet), Quiet())


def left(unet) -> tuple:
    locks = [module._lock for module in (backends, block, overrides)]
    held = [ref() for lock in locks for ref in lock.queue if ref() is not None]
    return (*state(unet), overrides._eager_blocks, overrides._made, overrides._stance, held)


def press_everywhere(unet, make, signals: bool = False, stride: int = 1) -> int:
    """How many lines there were to press at; a block is tried for each, or each of a stride."""
    before = left(unet)
    for at in count(1, stride):
        presser = Presser(at, signals)
        block = make(unet)
        with suppress(KeyboardInterrupt), presser, block:
            pass
        sys.settrace(None)
        assert left(unet) == before, f"line {at}"
        if presser.count < at:
            return presser.count
    return 0


@pytest.mark.parametrize(
    ("make", "signals", "stride"),
    [(capturing, False, 1), (capturing, True, 7), (hooking, False, 7), (tapping, False, 1)],
    ids=["capture", "capture by signal", "hooks", "tap"],
)
def test_at_every_line_of_enter_and_exit(make, signals, stride):
    unet = one_level()
    plain = run(unet)

    def ignoring(unet):
        block = make(unet)
        getattr(block, "_hooks", block).missing = "ignore"
        return block

    assert press_everywhere(unet, ignoring, signals, stride) > 500
    with ap.capture(unet) as capture:
        assert torch.equal(run(unet), plain)
    assert len(capture.layers) == 4


def test_between_other_blocks():
    """One around it goes on, with a mode of the user's between the two."""
    unet, seen = one_level(), []
    plain = run(unet)
    outer = AttentionHooks(unet)
    outer.add(lambda call: seen.append(call.name), ap.Layers(names=(MID,)))

    class Users(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    def make(unet):
        return ap.capture(unet, ap.Layers(names=(MID,)), missing="ignore")

    before = left(unet)
    with outer, Users():
        press_everywhere(unet, make, stride=11)
        assert torch.equal(run(unet), plain)
    assert seen == [MID]
    assert left(unet) == before


def test_modes_above_a_block_that_ends_early_stay():
    """Blocks may end in any order; a mode of the user's above the one that ends is put back."""
    unet = one_level()
    before = left(unet)

    class Users(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    for at in count(1):
        block, users, presser = tapping(unet), Users(), Presser(at)
        with suppress(KeyboardInterrupt), block:
            users.__enter__()
            with presser:
                block.__exit__(None, None, None)
        sys.settrace(None)
        assert torch.overrides._get_current_function_mode_stack() == [users], at
        users.__exit__(None, None, None)
        assert left(unet) == before, at
        if presser.count < at:
            break


@pytest.mark.parametrize("work", ["unet", "flux"])
def test_in_the_midst_of_a_pass(work):
    """Every seventh line that runs inside; what is left of the pass doesn't trouble the next."""
    model = small_unet() if work == "unet" else small_flux()
    go = (lambda: run(model)) if work == "unet" else (lambda: run_flux(model))
    plain, before = go(), left(model)
    with ap.capture(model) as whole:
        go()
    for at in range(1, 10**6, 211):
        presser = Presser(at)
        with suppress(KeyboardInterrupt), ap.capture(model), presser:
            go()
        sys.settrace(None)
        assert left(model) == before, at
        if presser.count < at:
            break
    with ap.capture(model, missing="ignore") as again:
        with suppress(KeyboardInterrupt), Presser(2000):
            go()
        assert torch.equal(go(), plain)
    assert [*again.records] == [*whole.records]
    assert left(model) == before


@pytest.mark.parametrize("broken", ["install", "push"])
def test_entering_is_all_or_nothing(monkeypatch, broken):
    from attnprobe.hooks import _private, backends

    unet = small_unet()
    before = left(unet)
    place = (backends, "install") if broken == "install" else (_private, "push_function_mode")
    with monkeypatch.context() as patch:
        patch.setattr(*place, lambda *given: 1 / 0)
        for make in (capturing, hooking, tapping):
            with pytest.raises(ZeroDivisionError), make(unet):
                pass
            assert left(unet) == before


def test_a_block_that_is_left_open_ends_with_its_with_statement():
    """Fetched and looked at, ``__exit__`` ends nothing; nor does a ``with`` that is refused."""
    unet = small_unet()
    before = left(unet)
    capture = ap.capture(unet)
    assert callable(capture.__exit__)
    with capture:
        assert callable(capture.__exit__)
        with pytest.raises(ap.AttnProbeError, match="can be entered once"), capture:
            pass
        assert left(unet) != before
        run(unet)
    assert len(capture.layers) == 14
    assert left(unet) == before


def test_amid_the_means_of_steps(monkeypatch):
    """A layer whose sums were being divided is not given out, and the others are right."""
    unet, real, calls = one_level(), torch.Tensor.div_, []

    def divide(*given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*given)

    def work(capture):
        run(unet)
        capture.new_step()
        run(unet)

    with ap.capture(unet) as whole:
        work(whole)
    with suppress(KeyboardInterrupt), ap.capture(unet) as capture:
        work(capture)
        monkeypatch.setattr(torch.Tensor, "div_", divide)
    monkeypatch.undo()
    lost = []
    for name in whole.records:
        try:
            assert torch.equal(capture[name], whole[name])
        except ap.AttnProbeError as error:
            lost.append(str(error))
    assert len(lost) == 1
    assert "an interrupt came while a layer's steps were averaged" in lost[0]
