"""Guidance branches: which row of a pass is the prompt's, told by what the row's condition is.

A row is ``uncond`` if its condition is what the pipeline calls the negative one, ``cond`` if it is
the other one of the two; in models of classes, by the class that means none. Whatever can't be
told so has no name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.callers import Caller
from attnprobe.hooks.families import family

Names = tuple[str | None, ...]

Print = tuple[Any, ...]
"""A fingerprint, equal where tensors are."""

TOLD = {"cond": "cond", "uncond": "uncond", "pred_cond": "cond", "pred_uncond": "uncond"}
"""What pipelines and guiders call their passes, and the branch that it says."""


@dataclass(frozen=True, eq=False)
class Given:
    """What the rows of a pass were given.

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


def branches_of(call: AttentionCall) -> tuple[str | None, ...] | None:
    """The branch of each row of the batch axis; None where the rows aren't those of the model.

    A layer may leave some of the model's rows out, or have more of them.
    """
    told, batch, batching = call.moment.branches, call.shape[0], call.batching
    if batch == len(told):
        return told
    if batching == "frames" and told and batch % len(told) == 0:
        return tuple(branch for branch in told for _ in range(batch // len(told)))
    if batching == "items" and batch == 1 and call.index < len(told):
        return (told[call.index],)
    if batching == "leading" and batch < len(told) and call.index == 0:
        return told[:batch]
    return None


def name_rows(model: Any, given: Given, caller: Caller | None, classes: Any) -> Names:
    """The branch of each row of a pass that nobody has named as a whole."""
    if family(model).startswith("DiT"):
        return _by_class(model, given, classes)
    nobody: Names = (None,) * len(given)
    if caller is None or not given.latents or given.latents[0].is_meta:
        return nobody
    if caller.guided is False:
        return _perturbed_alone(given) if caller.perturbed else nobody
    if not caller.pairs:
        return nobody
    return _without_doubles(_by_pairs(given, caller), given, caller.perturbed)


def beside(names: Names, given: Given, before: Sequence[tuple[Names, Given]]) -> Names:
    """The names of a pass that runs after others of its step.

    A row that was given just what one before it was given differs by something else, such as
    layers skipped; and fewer rows, of other latents, are no windows but something of their own,
    such as the blurred latents of self-attention guidance. Neither is the branch itself.
    """
    if not before or not any(names):
        return names
    first = before[0][1]
    if len(given) < len(first) and not {*given.noises} & {*first.noises}:
        return (None,) * len(names)
    known = {pair for told, other in before for pair in zip(told, other.prints, strict=True)}
    each = zip(names, given.prints, strict=True)
    return tuple(None if (name, print_) in known else name for name, print_ in each)


def _by_class(model: Any, given: Given, classes: Any) -> Names:
    """DiT: the class after the last means none."""
    none = model.config.get("num_embeds_ada_norm")
    if not isinstance(classes, torch.Tensor) or classes.is_meta or classes.shape != (len(given),):
        return (None,) * len(given)
    uncond = (classes == none).tolist()
    if not any(uncond):
        return (None,) * len(given)
    return tuple("uncond" if is_none else "cond" for is_none in uncond)


def _by_pairs(given: Given, caller: Caller) -> Names:
    """What the pipeline's pairs say of each row, where they agree."""
    said: list[set[str]] = [set() for _ in range(len(given))]
    for rows in given.conditions.values():
        prints = [{fingerprint(frame) for frame in row} for row in rows]
        for positive, negative in caller.pairs:
            bad, good = _sides(positive, negative, rows[0][0].dtype, caller.perturbed)
            for names, row in zip(said, prints, strict=True):
                names |= {name for name, side in (("uncond", bad), ("cond", good)) if row <= side}
    return tuple(names.pop() if len(names) == 1 else None for names in said)


def _sides(
    positive: Any, negative: Any, dtype: torch.dtype, perturbed: bool
) -> tuple[set[Print], set[Print]]:
    """The negative conditions of a pair and the others, in the type that the denoiser was given.

    Pipelines put both into the variable of the positive one before their loop. So it holds the
    negative ones or none of them; where prompt and negative prompt are equal, nothing is told.
    """
    bad, both = (
        [fingerprint(one.to(dtype)) for one in rows_of(value)] for value in (negative, positive)
    )
    good = [one for one in both if one not in bad]
    among = len(both) - len(good)
    apart = not among and len(good) == len(bad)
    wanted = (among, 2 * among) if perturbed else (among,)
    together = among and bad and among % len(bad) == 0 and len(good) in wanted
    return ({*bad}, {*good}) if apart or together else (set(), set())


def _without_doubles(found: Names, given: Given, perturbed: bool) -> Names:
    """Of rows that were given the same, none is named: something else tells them apart.

    With perturbed-attention guidance it is known what does: the first is the plain one.
    """
    names = list(found)
    for row in range(len(found)):
        for other in range(row):
            if found[row] is not None and given.prints[row] == given.prints[other]:
                names[row] = None
                if not perturbed:
                    names[other] = None
    return tuple(names)


def _perturbed_alone(given: Given) -> Names:
    """Perturbed-attention guidance alone: the rows, then the same once more, perturbed."""
    half = len(given) // 2
    if given.prints[:half] != given.prints[half:]:
        return (None,) * len(given)
    return ("cond",) * half + (None,) * half


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
