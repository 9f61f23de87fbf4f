"""Memory on large pages: tensors like any other, with fewer faults where there are such pages."""

import gc
import pickle
import resource
import weakref
from pathlib import Path

import pytest
import torch

from attnprobe.hooks.memory import empty

CPU = torch.device("cpu")
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.parametrize("shape", [(2, 3), (1, 1100, 1100), (3, 2048, 2048)])
def test_a_tensor_like_any_other(shape):
    tensor = empty(shape, CPU).fill_(2.0)
    assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == (shape, torch.float32, True)
    assert tensor.untyped_storage().nbytes() == tensor.nbytes
    assert torch.equal(pickle.loads(pickle.dumps(tensor[0])), torch.full(shape[1:], 2.0))
    assert empty(shape, torch.device("meta")).is_meta


def test_the_memory_goes_with_the_tensor():
    before = _resident()
    for _ in range(20):
        empty((64 << 18,), CPU).zero_()  # 64 MiB each
    gc.collect()
    assert _resident() - before < 128 << 20


def test_a_view_keeps_it_alive():
    tensor = empty((4, 1 << 20), CPU)
    tensor[2] = 7.0
    view, gone = tensor[2], weakref.ref(tensor)
    del tensor
    gc.collect()
    assert gone() is None
    assert view.eq(7.0).all()


def test_large_pages_are_few():
    """Where the system has none, small ones are what there is."""
    has_large = THP.exists() and "[never]" not in THP.read_text()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    empty((1, 4096, 4096), CPU).zero_()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < (8192 if has_large else 17000)


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
