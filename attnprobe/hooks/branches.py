"""Guidance branches: which row of a pass is the prompt's, told by what the row's condition is.

A row is ``uncond`` if its condition is what the pipeline calls the negative one, ``cond`` if it is
the other one of the two; in models of classes, by the class that means none. Whatever can't be
told so has no name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from attnprobe.hooks.callers import Caller
from attnprobe.hooks.wrappers import family

Names = tuple[str | None, ...]

TOLD = {"cond": "cond", "uncond": "uncond", "pred_cond": "cond", "pred_uncond": "uncond"}
"""What pipelines and guiders call their passes, and the branch that it says."""


@dataclass(frozen=True, eq=False)
class Given:
    """The rows of a pass: what each of the batch's items was given.

    Args:
        latents: one tensor a row.
        conditions: argument -> its value for each row.
    """

    latents: list[torch.Tensor]
    conditions: dict[str, list[torch.Tensor]]

    def __len__(self) -> int:
        return len(self.latents)

    def same_condition(self, row: int, other: Given, its: int) -> bool:
        """Whether a row of each has the same condition."""
        return self.conditions.keys() == other.conditions.keys() and all(
            equal(rows[row], other.conditions[name][its]) for name, rows in self.conditions.items()
        )

    def same_row(self, row: int, other: Given, its: int) -> bool:
        """Whether a row of each was given the same altogether."""
        return equal(self.latents[row], other.latents[its]) and self.same_condition(row, other, its)


def given_rows(latents: Any, conditions: dict[str, Any]) -> Given:
    """The rows of a pass; a condition that isn't one for each row is left out."""
    rows = _rows(latents)
    found = {}
    for name, value in _spread(conditions).items():
        each = _rows(value)
        if rows and each and len(each) % len(rows) == 0:
            count = len(each) // len(rows)
            if count > 1:  # a text for each frame
                each = [torch.stack(each[i : i + count]) for i in range(0, len(each), count)]
            found[name] = each
    return Given(rows, found)


def name_rows(model: Any, given: Given, caller: Caller | None, classes: Any) -> Names:
    """The branch of each row of a pass that nobody has named as a whole."""
    if family(model).startswith("DiT"):
        return _by_class(model, given, classes)
    nobody: Names = (None,) * len(given)
    if caller is None or not given.latents or given.latents[0].device.type == "meta":
        return nobody
    if caller.guided is False:
        return _perturbed_alone(given) if caller.perturbed else nobody
    found = [_row_name(given, row, caller) for row in range(len(given))]
    return _without_doubles(found, given, caller.perturbed)


def beside(names: Names, given: Given, before: Sequence[tuple[Names, Given]]) -> Names:
    """The names of a pass that runs after others of its step.

    A row that was given just what one before it was given differs by something else, such as
    layers skipped; and fewer rows, of other latents, are no windows but something of their own,
    such as the blurred latents of self-attention guidance. Neither is the branch itself.
    """
    if not before:
        return names
    first = before[0][1]
    others = len(given) < len(first) and not any(
        equal(given.latents[row], first.latents[its])
        for row in range(len(given))
        for its in range(len(first))
    )
    if others:
        return (None,) * len(names)
    named = [(name, other, its) for told, other in before for its, name in enumerate(told) if name]

    def is_double(row: int, name: str | None) -> bool:
        return any(name == told and given.same_row(row, other, its) for told, other, its in named)

    return tuple(None if is_double(row, name) else name for row, name in enumerate(names))


def equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether these are equal tensors; of tensors without numbers nobody knows."""
    if a.shape != b.shape or a.device != b.device or a.device.type == "meta":
        return False
    return torch.equal(a, b)


def _rows(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return list(value.detach()) if value.ndim else []
    if isinstance(value, list | tuple) and all(isinstance(one, torch.Tensor) for one in value):
        return [one.detach() for one in value]
    return []


def _spread(conditions: dict[str, Any]) -> dict[str, Any]:
    """Conditions that are dicts, each of their values by itself."""
    spread: dict[str, Any] = {}
    for name, value in conditions.items():
        inner = value if isinstance(value, dict) else {"": value}
        spread |= {f"{name}.{key}": one for key, one in inner.items()}
    return spread


def _by_class(model: Any, given: Given, classes: Any) -> Names:
    """DiT: the class after the last means none."""
    none = model.config.get("num_embeds_ada_norm")
    if not isinstance(classes, torch.Tensor) or classes.is_meta or classes.shape != (len(given),):
        return (None,) * len(given)
    uncond = (classes == none).tolist()
    if not any(uncond):
        return (None,) * len(given)
    return tuple("uncond" if is_none else "cond" for is_none in uncond)


def _row_name(given: Given, row: int, caller: Caller) -> str | None:
    """What the pipeline's pairs say of a row, if they agree."""
    said = {
        name
        for positive, negative in caller.pairs
        for rows in given.conditions.values()
        if (name := _by_pair(rows[row], positive, negative, caller.perturbed)) is not None
    }
    return said.pop() if len(said) == 1 else None


def _by_pair(value: torch.Tensor, positive: Any, negative: Any, perturbed: bool) -> str | None:
    """Whether a condition is the negative one of a pair, or the other.

    Pipelines put both into the variable of the positive one before their loop. So it holds the
    negative ones or none of them; where prompt and negative prompt are equal, nothing is told.
    """
    bad = [_as(one, value) for one in _rows(negative)]
    good = [_as(one, value) for one in _rows(positive)]
    rest = [one for one in good if not any(equal(one, other) for other in bad)]
    both = len(good) - len(rest)
    apart = not both and len(good) == len(bad)
    together = (
        both and both % len(bad) == 0 and len(rest) in ((both, 2 * both) if perturbed else (both,))
    )
    if not (apart or together):
        return None
    each = [(bad, "uncond"), (rest, "cond")]
    return next((name for rows, name in each if any(_is(value, one) for one in rows)), None)


def _is(value: torch.Tensor, one: torch.Tensor) -> bool:
    """Whether a row's condition is that one, or that one for each of its frames."""
    if value.ndim == one.ndim + 1:
        return all(equal(frame, one) for frame in value)
    return equal(value, one)


def _as(one: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return one.to(value.device, value.dtype)


def _without_doubles(found: list[str | None], given: Given, perturbed: bool) -> Names:
    """Of rows that were given the same, none is named: something else tells them apart.

    With perturbed-attention guidance it is known what does: the first is the plain one.
    """
    names = list(found)
    for row in range(len(found)):
        for other in range(row):
            if found[row] is not None and given.same_row(row, given, other):
                names[row] = None
                if not perturbed:
                    names[other] = None
    return tuple(names)


def _perturbed_alone(given: Given) -> Names:
    """Perturbed-attention guidance alone: the rows, then the same once more, perturbed."""
    half = len(given) // 2
    if len(given) != 2 * half or not all(given.same_row(i, given, half + i) for i in range(half)):
        return (None,) * len(given)
    return ("cond",) * half + (None,) * half
