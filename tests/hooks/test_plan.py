"""The planner: its figures are those of a real pass; over the budget it refuses with reasons."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attnprobe as ap
from attnprobe import AttnProbeError
from attnprobe.hooks import (
    Entropy,
    Features,
    HeadMean,
    Keep,
    PerHead,
    Pooled,
    Recorder,
    Rows,
    TokenMaps,
    TopK,
    plan,
)
from attnprobe.units import format_bytes, parse_bytes
from tests.conftest import small_unet
from tests.hooks import sdxl
from tests.hooks.sd14 import peak_of
from tests.hooks.zoo import CASES

MIB = 1 << 20
UNPLANNED = {
    "HiDreamImageTransformer2DModel",
    "HunyuanImageTransformer2DModel",
    "Lumina2Transformer2DModel",
    "MochiTransformer3DModel",
    "OmniGenTransformer2DModel",
    "UNetSpatioTemporalConditionModel",
}
"""Denoisers whose forward looks at numbers, which the meta device does not have."""


def kept(model, inputs, layers=None, keep=None, **settings):
    with torch.no_grad(), ap.capture(model, layers, keep, **settings) as capture:
        model(**inputs)
    return capture


def layer_bytes(capture) -> dict[str, int]:
    records = capture.records.records
    return {
        name: sum(part.nbytes for kept in records[name].steps[0] for part in kept.load().values())
        for name in records
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_denoiser_is_planned_exactly_or_not_at_all(case):
    model, inputs = case.build(), case.inputs()
    seen = tuple(name for name, expected in case.layers.items() if expected.calls)
    layers = ap.Layers(names=seen)
    if case.name in UNPLANNED:
        with pytest.raises(AttnProbeError, match="can't be planned, for it doesn't run without"):
            plan(model, inputs, layers)
        return
    planned = plan(model, inputs, layers)
    capture = kept(model, inputs, layers)
    assert {row["name"]: row["bytes"] for row in planned.rows} == layer_bytes(capture)
    assert planned.total == planned.held == capture.nbytes


class Queries(Recorder):
    """A recorder of somebody's own."""

    def __repr__(self):
        return "Queries()"

    def record(self, call):
        return call.q


FLUX = "FluxTransformer2DModel"
SD1 = "UNet2DConditionModel SD1"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("name", "kind", "keep"),
    [
        (SD1, None, PerHead((1,))),
        (SD1, "self", Pooled((2, 2))),
        (SD1, "cross", TokenMaps({"cat": (1, 2)})),
        (SD1, None, TopK(3)),
        (SD1, None, Entropy()),
        (SD1, None, Features()),
        (SD1, None, Keep("q", "probs")),
        (SD1, None, Queries()),
        (FLUX, "joint", Rows(((0, 0), (1, 1)))),
        (FLUX, "joint", Pooled((2, 2))),
        (FLUX, "joint", TokenMaps({"cat": (1,)})),
        (FLUX, None, HeadMean()),
    ],
    ids=str,
)
def test_figures_are_those_of_a_real_pass(name, kind, keep, dtype):
    case = next(case for case in CASES if case.name == name)
    model, inputs, layers = case.build(), case.inputs(), ap.Layers(kind=kind)
    planned = plan(model, inputs, layers, keep, dtype=dtype)
    with torch.no_grad(), ap.capture(model, layers, keep, dtype=dtype) as capture:
        model(**inputs)
        assert planned.held == capture.nbytes
    assert {row["name"]: row["bytes"] for row in planned.rows} == layer_bytes(capture)
    assert planned.total == capture.nbytes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_and_a_chosen_grid(dtype):
    model = small_unet().to(dtype)
    given = {
        "sample": torch.randn(2, 4, 16, 24, dtype=dtype),
        "timestep": 300,
        "encoder_hidden_states": torch.randn(2, 7, 24, dtype=dtype),
    }
    for layers in (ap.Layers(), ap.Layers(kind="self", grid=(8, 12))):
        planned = plan(model, given, layers, Keep("q"))
        assert planned.total == kept(model, given, layers, Keep("q")).nbytes > 0


def test_a_grid_that_only_numbers_tell():
    case = next(case for case in CASES if case.name == FLUX)
    layers = ap.Layers(grid=(5, 3))
    model, inputs = case.build(), case.inputs()
    assert plan(model, inputs, layers).total == kept(model, inputs, layers).nbytes > 0
    assert plan(model, inputs, ap.Layers(grid=(3, 5))).total == 0


def test_sdxl_at_1024_pixels_on_the_meta_device():
    model = sdxl.build(sdxl.SDXL, "meta")
    planned = plan(model, sdxl.inputs(sdxl.SDXL, 128, batch=2, device="meta"))
    by_hand = sdxl.layers_by_hand(128)
    assert by_hand == {4096: 10, 1024: 60}
    for tokens, count in by_hand.items():
        for kind, keys in (("self", tokens), ("cross", 77)):
            rows = [row for row in planned.rows if row["shape"] == f"2×{tokens}×{keys}"]
            assert len(rows) == count
            assert {row["kind"] for row in rows} == {kind}
            assert {row["bytes"] for row in rows} == {2 * tokens * keys * 4}
    # self-attention: 10 maps of 128 MiB and 60 of 8; the text's are 10 × 4096 + 60 × 1024 rows
    own = sum(row["bytes"] for row in planned.rows if row["kind"] == "self")
    assert own == 1760 * MIB
    assert planned.total == planned.held == own + (10 * 4096 + 60 * 1024) * 2 * 77 * 4
    assert sum(1 for _ in planned.rows) == 140


def test_a_narrow_sdxl_takes_the_memory_that_was_planned():
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.hooks.sdxl"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    by_hand = sdxl.layers_by_hand(64)
    rows = sum(count * tokens * (tokens + 77) for tokens, count in by_hand.items())
    assert told["planned"] == told["kept"] == 2 * rows * 4
    assert abs(told["grown"] / told["planned"] - 1) < 0.1


INPUTS = {
    "sample": torch.randn(1, 4, 32, 32),
    "timestep": 300,
    "encoder_hidden_states": torch.randn(1, 7, 24),
}


def test_over_the_budget_it_refuses_with_the_table_and_what_would_fit():
    unet = small_unet()
    total = plan(unet, INPUTS).total
    budget = total // 4
    plain = unet(**INPUTS).sample
    with pytest.raises(AttnProbeError) as refusal, ap.capture(unet, budget=budget):
        unet(**INPUTS)
    told = str(refusal.value)
    assert (
        f"one pass would hold {format_bytes(total)}, the budget is {format_bytes(budget)}:" in told
    )
    dearest = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    assert re.search(rf"4.0 MiB  1×1024×1024  {re.escape(dearest)}", told.splitlines()[1])
    # Pooled is not for cross-attention, so among all layers it is no way out.
    fitting = told.splitlines()[-1].removeprefix("would fit: ")
    assert "Pooled" not in fitting
    promised = re.findall(r"(\w+\([^()]*(?:\([^()]*\))?\)) \(([^()]+)\)", fitting)
    assert promised
    for written, size in promised:
        keep = eval(written, {"TopK": TopK, "Entropy": Entropy, "HeadMean": HeadMean})
        capture = kept(unet, INPUTS, keep=keep, budget=budget)
        assert format_bytes(capture.nbytes) == size
    assert torch.equal(unet(**INPUTS).sample, plain)
    assert torch.overrides._get_current_function_mode_stack() == []
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in unet.modules())


def test_what_would_fit_among_self_attention():
    unet, layers = small_unet(), ap.Layers(kind="self")
    with (
        pytest.raises(AttnProbeError, match="would fit: ") as refusal,
        ap.capture(unet, layers, PerHead(), budget="3MiB"),
    ):
        unet(**INPUTS)
    size = re.search(r"Pooled\(cells=\(16, 16\)\) \(([^)]*)\)", str(refusal.value))[1]
    assert format_bytes(kept(unet, INPUTS, layers, Pooled((16, 16)), budget="3MiB").nbytes) == size


def test_nothing_would_fit():
    with (
        pytest.raises(AttnProbeError, match="would fit: none of the recorders; choose fewer"),
        ap.capture(unet := small_unet(), budget=10),
    ):
        unet(**INPUTS)


def test_sums_count_in_float32_until_they_are_stored():
    unet = small_unet()
    planned = plan(unet, INPUTS, dtype=torch.float16)
    assert planned.held == 2 * planned.total
    between = planned.total + 1000
    with (
        pytest.raises(AttnProbeError, match=r"sums over steps are in float32 .*over_steps='each'"),
        ap.capture(unet, dtype=torch.float16, budget=between),
    ):
        unet(**INPUTS)
    capture = kept(unet, INPUTS, dtype=torch.float16, over_steps="each", budget=between)
    assert capture.nbytes == planned.total


def test_a_budget_used_up_over_steps():
    unet = small_unet()
    total = plan(unet, INPUTS).total
    capture = ap.capture(unet, over_steps="each", budget=int(2.5 * total))

    def denoise():
        for step in range(4):
            with torch.no_grad():
                unet(**INPUTS | {"timestep": 900 - step})

    said_ = r"the budget of .* is used up at step 2, layer \S+attn.: .* are held and .* more wanted"
    with pytest.raises(AttnProbeError, match=said_ + ".*over_steps='mean'"), capture:
        denoise()
    assert capture.nbytes <= 2.5 * total
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in unet.modules())
    with ap.capture(unet, budget=int(1.5 * total)) as mean:  # a mean needs no more for each step
        denoise()
    assert mean.nbytes == total


@pytest.mark.parametrize("case", [c for c in CASES if c.name in UNPLANNED], ids=lambda c: c.name)
def test_what_cant_be_planned_is_stopped_on_the_way(case):
    model = case.build()
    whole = kept(model, case.inputs(), missing="ignore").nbytes
    capture = ap.capture(model, missing="ignore", budget=whole - 1)
    with pytest.raises(AttnProbeError, match="is used up at step 0"), torch.no_grad(), capture:
        model(**case.inputs())
    assert 0 < capture.nbytes < whole
    assert kept(model, case.inputs(), missing="ignore", budget=whole).nbytes == whole


def test_a_call_is_refused_before_it_takes_the_memory():
    """Of a model that can't be planned: no more is taken than the budget allows."""
    torch.manual_seed(0)
    attention = Bare(32).eval()
    inputs = torch.randn(1, 8192, 32)
    layers = {"classes": (type(attention.attn),)}
    with torch.no_grad():
        attention(inputs)

        def refused():
            with pytest.raises(AttnProbeError, match=r"256.0 MiB more wanted"):
                work()

        def work():
            with ap.capture(attention, budget="100MiB", **layers):
                attention(inputs)

        peak, _ = peak_of(refused)
    assert peak < 100 * MIB


class Bare(torch.nn.Module):
    """A model with no config: nothing to plan from."""

    def __init__(self, width: int) -> None:
        from diffusers.models.attention_processor import Attention

        super().__init__()
        self.attn = Attention(query_dim=width, heads=1, dim_head=width)

    def forward(self, hidden_states):
        return self.attn(hidden_states)


class Numbers(Recorder):
    """A recorder that needs the numbers themselves."""

    def record(self, call):
        return call.probs() if call.q.sum().item() else call.q


def test_a_recorder_that_needs_numbers_is_counted_afterwards():
    unet = small_unet()
    with pytest.raises(AttnProbeError, match="UNet2DConditionModel can't be planned"):
        plan(unet, INPUTS, keep=Numbers())
    with pytest.raises(AttnProbeError, match="is used up at step 0"):
        kept(unet, INPUTS, keep=Numbers(), budget="1MiB")
    assert kept(unet, INPUTS, keep=Numbers(), budget="1GiB").nbytes > MIB


@given(st.integers(1, 10**6), st.sampled_from(["", "K", "M", "G", "T"]), st.booleans())
def test_bytes_as_people_write_them(number, unit, binary):
    binary = binary and bool(unit)
    size = number * (1024 if binary else 1000) ** ["", "K", "M", "G", "T"].index(unit)
    for text in (f"{number}{unit}{'i' * binary}B", f" {number} {unit.lower()}{'i' * binary} "):
        assert parse_bytes(text) == size
    assert parse_bytes(number) == number


@given(st.floats(1, 1e15))
def test_bytes_said_can_be_read(size):
    assert parse_bytes(format_bytes(size)) == pytest.approx(size, rel=0.051, abs=0.5)


@given(st.text().filter(lambda t: not any(map(str.isdigit, t))) | st.integers(max_value=0))
def test_anything_else_is_told_in_a_sentence(given_):
    with pytest.raises(AttnProbeError) as error:
        parse_bytes(given_)
    assert str(error.value) == f"budget must be bytes, such as '2GiB'. Got {given_!r} instead."


@pytest.mark.parametrize(
    "given_", ["", "GiB", "2 iB", "1.2.3", ".", "-1", 0, True, "9" * 400, "2XB", "0.1", None]
)
def test_no_bytes(given_):
    with pytest.raises(AttnProbeError, match="budget must be bytes, such as '2GiB'"):
        parse_bytes(given_)
