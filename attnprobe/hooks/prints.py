"""What the rows of a pass were given, by fingerprints that are equal where tensors are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

Print = tuple[Any, ...]


def fingerprint(tensor: torch.Tensor) -> Print:
    """Equal for tensors of one type that are equal, on whatever device and wherever in memory.

    Tensors without numbers are equal to nothing, not even themselves.
    """
    if tensor.is_meta:
        return (object(),)
    plain = tensor.detach().cpu()
    if plain.is_floating_point():
        plain = plain + 0.0  # −0 is 0
    numbers = plain.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return plain.dtype, tuple(plain.shape), hashlib.blake2b(numbers).digest()


@dataclass(frozen=True, eq=False)
class Given:
    """The rows of a pass.

    Args:
        latents: one tensor a row.
        conditions: argument -> for each row its values, one or as many as it has frames.
    """

    latents: list[torch.Tensor]
    conditions: dict[str, list[list[torch.Tensor]]]

    @classmethod
    def of(cls, latents: Any, conditions: dict[str, Any]) -> Given:
        """The rows of latents and conditions; a condition that isn't one a row is left out."""
        rows = rows_of(latents)
        found = {}
        for name, value in _spread(conditions, len(rows)):
            each = rows_of(value)
            if rows and each and len(each) % len(rows) == 0:
                count = len(each) // len(rows)
                found[name] = [each[i : i + count] for i in range(0, len(each), count)]
        return cls(rows, found)

    def __len__(self) -> int:
        return len(self.latents)

    @cached_property
    def noises(self) -> list[Print]:
        """A fingerprint of each row's latents."""
        return [fingerprint(one) for one in self.latents]

    @cached_property
    def prints(self) -> list[Print]:
        """A fingerprint of each row: equal where all that is known of two rows is equal."""
        return [
            (noise, *((name, *map(fingerprint, rows[row])) for name, rows in self._sorted))
            for row, noise in enumerate(self.noises)
        ]

    @property
    def _sorted(self) -> list[tuple[str, list[list[torch.Tensor]]]]:
        return sorted(self.conditions.items())


def rows_of(value: Any) -> list[torch.Tensor]:
    """A tensor's rows, or the tensors of a list; nothing of anything else."""
    if isinstance(value, torch.Tensor):
        return list(value.detach()) if value.ndim else []
    if isinstance(value, list | tuple) and all(isinstance(one, torch.Tensor) for one in value):
        return [one.detach() for one in value]
    return []


def _spread(conditions: dict[str, Any], batch: int) -> Iterator[tuple[str, Any]]:
    """Conditions that are dicts, or lists of something else than rows, each value by itself."""
    for name, value in conditions.items():
        if isinstance(value, dict):
            yield from _spread({f"{name}.{key}": one for key, one in value.items()}, batch)
        elif isinstance(value, list | tuple) and len(value) != batch:
            yield from ((f"{name}.{place}", one) for place, one in enumerate(value))
        else:
            yield name, value
