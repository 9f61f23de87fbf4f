"""Edits: interventions on the probabilities or the output of chosen heads, for causal probing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall

EditFunction = Callable[[torch.Tensor, AttentionCall], torch.Tensor]


@dataclass(frozen=True)
class Edit:
    """A function put in the way of the probabilities or the output of chosen heads."""

    function: EditFunction
    on: str
    heads: tuple[int, ...] | None


def apply_edits(edits: list[Edit], call: AttentionCall) -> tuple[AttentionCall, torch.Tensor]:
    """The call with its output edited, and that output; of one edit at least.

    Heads that are not chosen keep the kernel's own output, bit by bit.

    Raises:
        CaptureError: a head that isn't there, or a tensor of another shape comes back.
    """
    for edit in edits:
        given = edit.heads or (0,)
        if not 0 <= min(given) <= max(given) < call.heads:
            raise CaptureError(
                f"edit: {call.name} has heads 0 to {call.heads - 1}. Got {edit.heads} instead."
            )
    out = call.out.clone()
    on_probs = [edit for edit in edits if edit.on == "probs"]
    touched = sorted({head for edit in on_probs for head in _heads(edit, call)})
    if touched:
        # A copy, for edits write into it, and gradients need the softmax as it was.
        probs = call.probs(heads=touched).clone()
        for edit in on_probs:
            places = [touched.index(head) for head in _heads(edit, call)]
            probs[:, places] = _edited(edit, probs[:, places], call).to(probs.dtype)
        values = call.v
        if call.grouped:
            values = values.repeat_interleave(call.heads // values.shape[1], 1)
        out[:, touched] = (probs @ values[:, touched].float()).to(out.dtype)
    for edit in edits:
        if edit.on == "out":
            heads = _heads(edit, call)
            out[:, heads] = _edited(edit, out[:, heads], call).to(out.dtype)
    return replace(call, out=out), out


def _heads(edit: Edit, call: AttentionCall) -> list[int]:
    return list(range(call.heads) if edit.heads is None else edit.heads)


def _edited(edit: Edit, tensor: torch.Tensor, call: AttentionCall) -> torch.Tensor:
    given = tuple(tensor.shape)
    edited: Any = edit.function(tensor, call)
    if not isinstance(edited, torch.Tensor) or tuple(edited.shape) != given:
        got = tuple(edited.shape) if isinstance(edited, torch.Tensor) else type(edited).__name__
        raise CaptureError(
            f"edit: the function must return a tensor {given} for {call.name}. Got {got} instead."
        )
    return edited
