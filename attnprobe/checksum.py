"""64 bits of a tensor's content, worked out where the tensor lies, at the speed of its memory."""

from __future__ import annotations

import functools

import numpy as np
import torch

_CHUNK = 1 << 17
"""Words that are summed at once on a processor, whose cache holds them; a GPU takes more."""

_LARGE_CHUNK = 1 << 22


def checksum(tensor: torch.Tensor) -> list[int]:
    """Sums modulo 2⁶⁴ of a tensor's 8-byte words, each times an odd number of its place's own.

    As the factors are odd, no change of a single word leaves the sums as they are; of other
    changes one in 2⁶⁴ does. Values are told apart as bytes: 0 and −0, and different NaNs, differ.
    """
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    content = tensor.detach().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
    whole = len(content) // 8 * 8
    rest = content[whole:].tolist()
    if content.device.type == "cpu":
        return _of_array(content[:whole].numpy()) + rest
    return _of_tensor(content[:whole]) + rest


def _of_array(content: np.ndarray) -> list[int]:
    words = content.view(np.int64)
    factors = _factors(_CHUNK)
    parts = (words[start : start + _CHUNK] for start in range(0, len(words), _CHUNK))
    return [int(np.dot(part, factors[: len(part)])) for part in parts]


def _of_tensor(content: torch.Tensor, chunk: int = _LARGE_CHUNK) -> list[int]:
    if len(content) == 0:
        return []
    if content.storage_offset() % 8:
        content = content.clone()
    factors = _factors_on(content.device, chunk)
    parts = content.view(torch.int64).split(chunk)
    return torch.stack([(part * factors[: len(part)]).sum() for part in parts]).tolist()


@functools.cache
def _factors(count: int) -> np.ndarray:
    bounds = np.iinfo(np.int64)
    return np.random.default_rng(0x5EED).integers(bounds.min, bounds.max, count) | 1


@functools.cache
def _factors_on(device: torch.device, count: int) -> torch.Tensor:
    return torch.from_numpy(_factors(count)).to(device)
