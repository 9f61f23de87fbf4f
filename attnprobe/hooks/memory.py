"""Memory for what is captured: large tensors on large pages.

A map of 4096² floats is touched for the first time while the model runs, and on pages of 4 KiB the
system steps in 16 384 times for it, which takes longer than the products that fill it. On pages of
2 MiB, where Linux gives them, it is some 30 times.
"""

from __future__ import annotations

import math
import mmap
from contextlib import suppress

import torch

_LARGE_PAGE = 1 << 21
_HUGE = getattr(mmap, "MADV_HUGEPAGE", None)


def empty(shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """A float32 tensor whose values are not set, on large pages where it is large and they are."""
    count = math.prod(shape)
    size = count * torch.float32.itemsize
    if device.type != "cpu" or _HUGE is None or size < 2 * _LARGE_PAGE:
        return torch.empty(shape, device=device)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without large pages gives small ones
        memory.madvise(_HUGE)
    return torch.frombuffer(memory, dtype=torch.float32, count=count).view(shape)
