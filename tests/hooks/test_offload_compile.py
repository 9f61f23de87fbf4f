"""Models whose weights accelerate moves about, and compiled ones."""

import warnings

import pytest
import torch
from accelerate import cpu_offload, cpu_offload_with_hook

import attnprobe as ap
from tests.conftest import small_unet
from tests.hooks.small import (
    captured,
    every_head,
    run,
    same_maps,
    state,
)


def test_sequential_offload_of_accelerate(unet):
    """Weights are put in place as each module begins and taken away as it ends."""
    plain = captured(unet, lambda: run(unet), keep=every_head)
    cpu_offload(unet, execution_device=torch.device("cpu"), offload_buffers=True)
    assert next(unet.parameters()).device.type == "meta"
    same_maps(captured(unet, lambda: run(unet), keep=every_head), plain, rtol=0, atol=0)


def test_model_offload_of_accelerate(unet):
    plain = captured(unet, lambda: run(unet), keep=every_head)
    _, hook = cpu_offload_with_hook(unet, execution_device=torch.device("cpu"))
    offloaded = captured(unet, lambda: run(unet), keep=every_head)
    hook.offload()
    same_maps(offloaded, plain, rtol=0, atol=0)
    same_maps(captured(unet, lambda: run(unet), keep=every_head), plain, rtol=0, atol=0)


class Counting:
    """A compiler that runs graphs as they are, and counts how often one ran."""

    def __init__(self):
        self.graphs = self.runs = 0

    def __call__(self, graph, example_inputs):
        self.graphs += 1

        def run(*args):
            self.runs += 1
            return graph.forward(*args)

        return run


@pytest.fixture
def small():
    torch._dynamo.reset()
    yield small_unet(
        block_out_channels=(8,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
    )
    torch._dynamo.reset()


def compiled_as(how: str, unet, compiler):
    if how == "wrapped":
        return torch.compile(unet, backend=compiler)
    unet.compile(backend=compiler)
    return unet


@pytest.mark.parametrize("warm", [True, False], ids=["ran before", "first run captured"])
@pytest.mark.parametrize("how", ["wrapped", "in place"])
def test_compiled_before_the_capture(small, how, warm):
    expected = captured(small, lambda: run(small), keep=every_head)
    compiler = Counting()
    compiled = compiled_as(how, small, compiler)
    if warm:
        run(compiled)
        assert compiler.runs > 0
    graphs, runs = compiler.graphs, compiler.runs
    plain, before = run(small), state(small)
    ran = compiler.runs
    with ap.capture(compiled, keep=every_head) as capture:
        assert torch.equal(run(compiled), plain)
    assert compiler.runs == ran
    assert state(small) == before
    same_maps(capture, expected, rtol=0, atol=0)
    assert torch.equal(run(compiled), plain)
    assert compiler.runs > ran
    assert compiler.graphs >= graphs
    assert ran >= runs


@pytest.mark.parametrize("how", ["wrapped", "in place"])
def test_compiled_after_and_inside_the_capture(small, how):
    expected = captured(small, lambda: run(small), keep=every_head)
    plain, compiler = run(small), Counting()
    with ap.capture(small, keep=every_head) as capture:
        compiled = compiled_as(how, small, compiler)
        assert torch.equal(run(compiled), plain)
    assert compiler.runs == 0
    same_maps(capture, expected, rtol=0, atol=0)
    assert torch.equal(run(compiled), plain)
    runs = compiler.runs
    assert runs > 0
    graphs = compiler.graphs
    assert torch.equal(run(compiled), plain)
    assert (compiler.graphs, compiler.runs) == (graphs, 2 * runs)


def test_blocks_that_overlap_keep_compiled_models_eager_until_the_last_ends(small):
    compiler = Counting()
    compiled = compiled_as("wrapped", small, compiler)
    one, two = ap.capture(compiled), ap.capture(compiled)
    one.__enter__()
    two.__enter__()
    run(compiled)
    one.__exit__(None, None, None)
    run(compiled)
    assert compiler.runs == 0
    two.__exit__(None, None, None)
    assert {row["calls"] for row in two.layers} == {2}
    run(compiled)
    assert compiler.runs > 0


def test_a_stance_of_the_users_is_restored(small):
    with torch.compiler.set_stance("fail_on_recompile"):
        before = state(small)
        with ap.capture(small):
            run(small)
        assert state(small) == before


def test_repeated_blocks_compiled(small):
    compiler = Counting()
    expected = captured(small, lambda: run(small), keep=every_head)
    small.compile_repeated_blocks(backend=compiler)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same_maps(captured(small, lambda: run(small), keep=every_head), expected, rtol=0, atol=0)
    assert compiler.runs > 0
