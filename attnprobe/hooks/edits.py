"""Edits: interventions on any tensor of chosen heads' attention, for causal probing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall, without_blind

EditFunction = Callable[[torch.Tensor, AttentionCall], torch.Tensor]

EDITED = ("q", "k", "v", "logits", "probs", "out")
"""What edits may be put on, in the order in which attention computes it."""

_SAME = {torch.float32: 1e-4, torch.float64: 1e-4}
"""How far probabilities that a layer multiplied by may be from the softmax of its queries and keys
and still be that; 0.02 in half precision."""


@dataclass(frozen=True)
class Edit:
    """A function put in the way of one tensor of chosen heads.

    Args:
        function: gives the tensor that takes its place.
        on: which tensor, one of `EDITED`.
        heads: which heads; all if None.
        rows: which rows of a call's batch it is for; all if None.
    """

    function: EditFunction
    on: str
    heads: tuple[int, ...] | None
    rows: Callable[[AttentionCall], list[int]] | None = None


def apply_edits(edits: list[Edit], call: AttentionCall) -> tuple[AttentionCall, torch.Tensor]:
    """The call with its output edited, and that output; of one edit at least.

    Heads and rows that are not chosen keep the kernel's own output, bit by bit. For the others
    attention is computed anew from the first tensor that is edited, with a softmax of its own.

    Raises:
        CaptureError: a head that isn't there, a tensor of another shape comes back, or the layer
            changes its probabilities by itself, which edits before them would undo.
    """
    for edit in edits:
        given = edit.heads or (0,)
        if not 0 <= min(given) <= max(given) < call.heads:
            raise CaptureError(
                f"edit: {call.name} has heads 0 to {call.heads - 1}. Got {edit.heads} instead."
            )
    meant = [edit.rows(call) for edit in edits if edit.rows is not None]
    if len(meant) < len(edits):
        rows = [*range(call.shape[0])]
    else:
        rows = sorted({row for each in meant for row in each})
    out = call.out.clone()
    inside = [edit for edit in edits if edit.on != "out"]
    touched = sorted({head for edit in inside for head in _heads(edit, call)})
    if rows and touched:
        found = _attention(inside, call, touched).to(out.dtype)
        for row in rows:
            out[row, touched] = found[row]
    for edit in edits:
        if edit.on == "out":
            heads = _heads(edit, call)
            out[:, heads] = _edited(edit, out[:, heads], call).to(out.dtype)
    return replace(call, out=out), out


def _attention(edits: list[Edit], call: AttentionCall, heads: list[int]) -> torch.Tensor:
    """softmax(scale · q kᵀ + mask) v of some heads, in float32, each tensor edited on the way."""
    part = call.of_heads(dict.fromkeys(heads, 1.0))

    def through(name: str, tensor: torch.Tensor) -> torch.Tensor:
        chosen = [edit for edit in edits if edit.on == name]
        # A copy, for edits write into it, and gradients need what it was computed from.
        tensor = tensor.clone() if chosen else tensor
        for edit in chosen:
            places = [heads.index(head) for head in _heads(edit, call)]
            tensor[:, places] = _edited(edit, tensor[:, places], call).to(tensor.dtype)
        return tensor

    if any(edit.on in ("q", "k", "logits") for edit in edits):
        _refuse_own_probabilities(part)
        q, k = through("q", part.q), through("k", part.k)
        logits = through("logits", replace(part, q=q, k=k).logits())
        probs = without_blind(logits.softmax(-1), logits)
    else:
        probs = part.probs()
    return through("probs", probs) @ through("v", part.v).float()


def _refuse_own_probabilities(call: AttentionCall) -> None:
    """Queries and keys are what is multiplied by only if nobody changes their softmax."""
    if call.weights is None:
        return
    own = replace(call, weights=None).probs()
    near = _SAME.get(call.weights.dtype, 0.02)
    if not torch.allclose(call.probs(), own, rtol=0, atol=near, equal_nan=True):
        raise CaptureError(
            f"edit: the processor of {call.name} changes its probabilities by itself, which an "
            "edit of q, k or logits would undo; edit on='probs', or set the default processor"
        )


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
