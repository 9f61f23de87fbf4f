"""Many calls, one record: steps averaged or kept, half precision, guidance pass by pass."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import attnprobe as ap
from attnprobe import AttnProbeError
from attnprobe.hooks import (
    Entropy,
    Features,
    HeadMax,
    HeadMean,
    Keep,
    Moment,
    PerHead,
    Pooled,
    Recorder,
    Rows,
    TokenMaps,
    TopK,
)
from attnprobe.hooks.recording import Recording
from tests.conftest import small_unet
from tests.hooks.calls import call_of, random_call
from tests.hooks.zoo import CASES

MID = "mid_block.attentions.0.transformer_blocks.0.attn1"
SELF = ap.Layers(names=(MID,))


def latents(size=(16, 24), batch=1, seed=1):
    return torch.randn(batch, 4, *size, generator=torch.Generator().manual_seed(seed))


def words(batch=1, seed=2):
    return torch.randn(batch, 7, 24, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def run(unet, *timesteps, size=(16, 24), batch=1):
    for timestep in timesteps:
        unet(latents(size, batch, seed=timestep), timestep, words(batch))


def record(keep, *calls, **settings) -> Recording:
    recording = Recording(keep, **settings)
    for call in calls:
        recording(call)
    recording.close()
    return recording


def test_the_mean_is_that_of_each_step(unet):
    with (
        ap.capture(unet, SELF, over_steps="each") as each,
        ap.capture(unet, SELF) as mean,
        ap.capture(unet, SELF, Keep("out"), over_steps="mean") as out,
        ap.capture(unet, SELF, Keep("out"), over_steps="each") as outs,
    ):
        run(unet, 900, 500, 100)
    assert each[MID].shape == (3, *mean[MID].shape)
    torch.testing.assert_close(mean[MID].double(), each[MID].double().mean(0))
    torch.testing.assert_close(out[MID].double(), outs[MID].double().mean(0))
    kept = mean.records.records[MID].steps[0][0]
    assert kept.steps == (0, 1, 2)
    assert kept.timesteps == (900, 500, 100)
    assert torch.equal(each.at(MID, step=1), each[MID][1, 0])
    assert torch.equal(each.fields(step=2)[0].rows, each[MID][2, 0])


def test_steps_are_called_by_their_numbers(unet):
    with ap.capture(unet, SELF, steps={1, 3}, over_steps="each") as some:
        run(unet, 900, 700, 500, 300)
    with ap.capture(unet, SELF, over_steps="each") as every:
        run(unet, 900, 700, 500, 300)
    assert torch.equal(some.at(MID, step=3), every[MID][3, 0])
    with pytest.raises(AttnProbeError, match=r"step must be one of 1, 3. Got 0 instead"):
        some.fields(step=0)
    with pytest.raises(AttnProbeError, match=r"step must be one of 1, 3. Got None instead"):
        some.fields()


def test_a_single_step_needs_no_number(unet):
    with ap.capture(unet, SELF, over_steps="each") as each, ap.capture(unet, SELF) as mean:
        run(unet, 300)
    assert torch.equal(each.fields()[0].rows, mean.fields()[0].rows)
    with pytest.raises(AttnProbeError, match="the steps were averaged, so there is no step 0"):
        mean.fields(step=0)


@pytest.mark.parametrize(
    ("keep", "over_steps"),
    [
        (HeadMean(), "mean"),
        (PerHead(), "mean"),
        (Rows(((0, 0),)), "mean"),
        (Pooled((2, 2)), "mean"),
        (TokenMaps({"cat": (1,)}), "mean"),
        (Features(), "mean"),
        (Keep("probs"), "mean"),
        (HeadMax(), "each"),
        (Entropy(), "each"),
        (TopK(), "each"),
        (Keep("q"), "each"),
        (Keep("probs", "logits"), "each"),
    ],
    ids=str,
)
def test_a_mean_by_default_where_it_means_something(keep, over_steps):
    assert Recording(keep).over_steps == over_steps
    if over_steps == "each":
        name = type(keep).__name__
        with pytest.raises(AttnProbeError, match=f"{name} is not linear over steps"):
            Recording(keep, "mean")


def test_settings_that_are_not_there(unet):
    with pytest.raises(AttnProbeError, match=r"over_steps must be mean or each. Got 'all'"):
        ap.capture(unet, over_steps="all")
    with pytest.raises(AttnProbeError, match=r"dtype must be float32, .*Got torch.float64"):
        ap.capture(unet, dtype=torch.float64)
    with pytest.raises(AttnProbeError, match="keep must be a recorder"):
        ap.capture(unet, keep=HeadMean)


def twice(unet, **second):
    run(unet, 900)
    run(unet, 500, **second)


def test_sizes_that_change_have_no_mean(unet):
    said = r"was \(1, 96, 96\) at first and is \(1, 64, 64\) at step 1, so steps have no mean"
    with pytest.raises(AttnProbeError, match=said), ap.capture(unet, SELF):
        twice(unet, size=(16, 16))


def test_batches_that_change_are_kept_apart(unet):
    """As where guidance ends before the last step: whose rows the others are, nobody says."""
    with ap.capture(unet, SELF) as capture:
        twice(unet, batch=2)
    assert capture[MID].shape == (3, 96, 96)
    assert [kept.steps for kept in capture.records.records[MID].steps[0]] == [(0,), (1,)]


def test_sizes_that_change_are_read_step_by_step(unet):
    with ap.capture(unet, SELF, over_steps="each") as capture:
        twice(unet, size=(16, 16))
    with pytest.raises(AttnProbeError, match=r"differ in size \(.*96, 96.*64, 64.*one by one"):
        capture[MID]
    assert [capture.fields(step=step)[0].grid for step in (0, 1)] == [(8, 12), (8, 8)]
    assert capture.at(MID, step=1).shape == (64, 64)


def peaked(keys: int = 4096) -> torch.Tensor:
    """One key has nearly all; the others' shares fall from 1e-4 to 1e-9."""
    rest = torch.logspace(-4, -9, keys - 1)
    return torch.cat([1 - rest.sum()[None], rest]).view(1, 1, 1, keys)


@pytest.mark.parametrize("keep", [HeadMean(), PerHead(), HeadMax(), TopK(4096), Keep("probs")])
def test_half_precision_keeps_small_entries(keep):
    probs = peaked()
    assert (probs.half() == 0).sum() > 200  # what is lost unscaled
    call = call_of(probs, torch.zeros(1, 1, 4096, 1))
    recording = record(keep, call, dtype=torch.float16)
    value = recording.records("")[call.name]
    value = value["values"] if isinstance(keep, TopK) else value
    assert recording.nbytes == 4096 * (2 + 4 * isinstance(keep, TopK))
    exact = probs.flatten().sort(descending=True).values
    kept = value.flatten().sort(descending=True).values
    assert kept.dtype == torch.float32
    torch.testing.assert_close(kept, exact, rtol=2**-10, atol=2e-12)


@pytest.mark.parametrize("over_steps", ["mean", "each"])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 2**-10), (torch.bfloat16, 2**-8)])
def test_sums_are_in_float32_and_stored_as_asked(unet, over_steps, dtype, error):
    with (
        ap.capture(unet, over_steps=over_steps) as full,
        ap.capture(unet, over_steps=over_steps, dtype=dtype) as half,
    ):
        run(unet, 900, 500, 100)
    assert half.nbytes == half.records.nbytes == full.nbytes / 2
    for name in full.records:
        torch.testing.assert_close(
            half[name].float(), full[name], rtol=error, atol=0, check_dtype=False
        )


def test_other_numbers_than_probabilities_are_not_scaled():
    call = random_call((1, 2, 40, 900))
    kept = record(Entropy(), call, dtype=torch.float16).records("")[call.name]
    assert torch.equal(kept[0], Entropy().record(call).half())
    both = record(Keep("q", "probs"), call, dtype=torch.float16).records("")[call.name]
    assert torch.equal(both["q"][0], call.q.half())
    torch.testing.assert_close(both["probs"][0], call.probs(), rtol=2**-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_is_half_precision_by_itself_stays_so(dtype):
    call = random_call((1, 2, 4, 5), dtype=torch.bfloat16)
    kept = record(Keep("q"), call, dtype=dtype).records("")[call.name]
    assert kept.dtype == torch.bfloat16
    assert torch.equal(kept[0], call.q)


def test_means_of_half_precision_are_summed_in_float32():
    calls = [random_call((1, 1, 2, 3), dtype=torch.bfloat16, seed=i) for i in range(300)]
    steps = [replace(call, moment=Moment(i)) for i, call in enumerate(calls)]
    kept = record(Keep("out"), *steps, over_steps="mean").records("")[calls[0].name]
    exact = torch.stack([call.out.double() for call in calls]).mean(0)
    torch.testing.assert_close(kept, exact, rtol=1e-5, atol=1e-6, check_dtype=False)


STORING = """
import ctypes
from dataclasses import replace

import torch

from attnprobe.hooks import Recorder
from attnprobe.hooks.recording import Recording
from tests.hooks.calls import random_call
from tests.hooks.sd14 import peak_of, resident

ctypes.CDLL(None).mallopt(-3, 1 << 20)  # M_MMAP_THRESHOLD: what is freed goes to the system


class Large(Recorder):
    linear = frozenset({"steps"})
    probabilities = True

    def record(self, call):
        return torch.ones(1, 10 << 20)


recording = Recording(Large(), dtype=torch.float16)
for index in range(5):
    recording(replace(random_call((1, 1, 1, 1)), index=index))
before = resident("VmRSS")
peak, _ = peak_of(recording.close)
print(recording.nbytes, peak, before - resident("VmRSS"))
"""


def test_storing_takes_half_a_layer_more_and_no_longer():
    command = [sys.executable, "-c", STORING]  # a process whose memory nothing else disturbs
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kept, peak, freed = (int(count) / 2**20 for count in done.stdout.split())
    assert kept == 100
    assert peak < 30  # MiB, 20 of the layer that is stored first
    assert freed > 90


def guided(unet, timesteps, uncond, cond, until: int = 99):
    """Guidance pass by pass, as many pipelines do it; after a while without."""
    with torch.no_grad():
        for i, timestep in enumerate(timesteps):
            unet(latents(seed=timestep), timestep, uncond)
            if i < until:
                unet(latents(seed=timestep), timestep, cond)


@pytest.mark.parametrize("over_steps", ["mean", "each"])
def test_guidance_passes_lie_side_by_side(unet, over_steps):
    uncond, cond = words(seed=5), words(seed=6)
    with ap.capture(unet, over_steps=over_steps) as both:
        guided(unet, (900, 500), uncond, cond)
    with torch.no_grad(), ap.capture(unet, over_steps=over_steps) as doubled:
        for t in (900, 500):
            unet(torch.cat([latents(seed=t)] * 2), t, torch.cat([uncond, cond]))
    for name in both.records:
        torch.testing.assert_close(both[name], doubled[name], rtol=1e-4, atol=1e-6)
    one, other = both[MID].unbind(1 if over_steps == "each" else 0)
    assert (one - other).abs().max() > 1e-4
    assert doubled.records.branches == (None, None)  # nobody says which is which


def test_guidance_that_ends_early(unet):
    uncond, cond = words(seed=5), words(seed=6)
    with (
        ap.capture(unet, SELF) as mean,
        ap.capture(unet, SELF, over_steps="each") as each,
    ):
        guided(unet, (900, 500, 100), uncond, cond, until=2)
    firsts = torch.stack([each.at(MID, 0, step) for step in range(3)])
    seconds = torch.stack([each.at(MID, 1, step) for step in range(2)])
    torch.testing.assert_close(mean[MID], torch.stack([firsts.mean(0), seconds.mean(0)]))
    with pytest.raises(AttnProbeError, match="differ in size"):
        each[MID]
    with pytest.raises(AttnProbeError, match=r"item must be -1 to 0, .* has 1 rows. Got 1"):
        each.at(MID, 1, 2)


def zoo(name: str):
    return next(case for case in CASES if case.name == name)


def test_named_branches_stay_together_whatever_their_order():
    """A pipeline that names its passes, the unconditional one first, and leaves it out at last."""
    case = zoo("FluxTransformer2DModel")
    model, given = case.build(), case.inputs()
    other = given | {"encoder_hidden_states": given["encoder_hidden_states"].flip(1)}
    layer = ap.Layers(names=("transformer_blocks.1.attn",))
    (name,) = layer.names
    with (
        torch.no_grad(),
        ap.capture(model, layer) as mean,
        ap.capture(model, layer, over_steps="each") as each,
    ):
        for step, timestep in enumerate((0.9, 0.5)):
            at = {"timestep": torch.full((2,), timestep)}
            if step == 0:
                with model.cache_context("uncond"):
                    model(**other | at)
            with model.cache_context("cond"):
                model(**given | at)
    kept = mean.records.records[name].steps[0]
    assert [p.branches for p in kept] == [("uncond",) * 2, ("cond",) * 2]
    conds = torch.stack([each.at(name, 2, 0), each.at(name, 0, 1)])
    torch.testing.assert_close(mean[name][2], conds.mean(0))
    torch.testing.assert_close(mean[name][0], each.at(name, 0, 0))


def test_passes_whose_texts_differ_in_length():
    case = zoo("FluxTransformer2DModel")
    model, given = case.build(), case.inputs()
    shorter = given | {
        "encoder_hidden_states": given["encoder_hidden_states"][:, :4],
        "txt_ids": given["txt_ids"][..., :4, :],
    }
    with torch.no_grad(), ap.capture(model) as capture:
        model(**given)
        model(**shorter)
    with torch.no_grad(), ap.capture(model) as alone:
        model(**shorter)
    name = "transformer_blocks.0.attn"
    with pytest.raises(AttnProbeError, match=r"differ in size \(\(22, 22\), \(19, 19\)\)"):
        capture[name]
    assert torch.equal(capture.at(name, 3), alone.at(name, 1))
    for mine, others in zip(capture.fields(item=-1), alone.fields(item=1), strict=True):
        assert torch.equal(mine.rows, others.rows)


def test_reading_while_the_block_is_open(unet):
    with ap.capture(unet, SELF) as capture:
        run(unet, 900)
        first = capture[MID]
        before = first.clone()
        run(unet, 500)
        both = capture[MID]
        rows = capture.fields()[0].rows.clone()
    assert torch.equal(first, before)
    assert not torch.equal(first, both)
    assert torch.equal(capture[MID], both)
    assert torch.equal(rows, both[0])


class Whatever(Recorder):
    """Returns what it is told to."""

    linear = frozenset({"steps"})

    def __init__(self, make):
        self.make = make

    def record(self, call):
        return self.make(call)


@pytest.mark.parametrize(
    "make",
    [
        lambda call: call.out,
        lambda call: call.q[:, :1],
        lambda call: call.out.transpose(1, 2),
        lambda call: call.v[:1].expand(2, -1, -1, -1),
        lambda call: {"a": call.probs()[:, 0], "b": call.k},
    ],
)
def test_the_models_own_memory_is_copied(make):
    calls = [replace(random_call((2, 3, 4, 5), seed=i), moment=Moment(i)) for i in range(3)]
    before = [(call.q.clone(), call.k.clone(), call.v.clone(), call.out.clone()) for call in calls]
    recording = record(Whatever(make), *calls)
    for call, tensors in zip(calls, before, strict=True):
        for tensor, old in zip((call.q, call.k, call.v, call.out), tensors, strict=True):
            assert torch.equal(tensor, old)
            tensor.zero_()
    (record_,) = recording.records("").records.values()
    parts = record_.steps[0][0].load().values()
    assert recording.nbytes == sum(part.untyped_storage().nbytes() for part in parts)
    assert all(part.abs().sum() > 0 for part in parts)


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda call: 3, "int"),
        (lambda call: call.q[0], r"\(3, 4, 8\)"),
        (lambda call: call.q.sum(), r"\(\)"),
        (lambda call: {"a": [1]}, "list"),
    ],
)
def test_what_a_recorder_may_return(make, got):
    with pytest.raises(
        AttnProbeError, match=rf"Whatever.record must return .*batch of 2.*Got {got} for block.attn"
    ):
        record(Whatever(make), random_call((2, 3, 4, 5)))


def test_a_layer_of_which_nothing_is_kept_is_a_miss():
    unet = small_unet()
    keep = Whatever(lambda call: call.probs() if call.kind == "cross" else None)
    with (
        pytest.raises(AttnProbeError, match="7 of 14 layers were not observed: the recorder kept"),
        ap.capture(unet, keep=keep),
    ):
        run(unet, 300)
    with ap.capture(unet, keep=keep, missing="ignore") as capture:
        run(unet, 300)
    assert {row["kind"] for row in capture.layers} == {"cross"}
    assert {(row["kind"], row["seen"]) for row in capture.coverage()} == {("self", 0), ("cross", 1)}
