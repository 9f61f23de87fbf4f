"""Recorders of the tensors themselves, and of the outputs as a picture of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from einops import rearrange

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.recorders.base import EVERY_AXIS, Axis, Recorder, Value
from attnprobe.registry import checked

Tensor = Literal["q", "k", "v", "logits", "probs", "out"]

# Averaged queries, keys or logits give no averaged probabilities: the softmax lies between.
_LINEAR: dict[str, frozenset[Axis]] = {"probs": EVERY_AXIS, "out": frozenset({"steps"})}


class Keep(Recorder):
    """Tensors of the call as they are, copied: ``Keep("q", "k")``.

    ``q``, ``k``, ``v``, ``out``: (batch, heads, tokens, width) in the model's type; ``logits``
    and ``probs``: (batch, heads, queries, keys) float32, large. One tensor is kept as itself,
    several as a dict. A mean over steps is taken by default of ``probs`` and ``out`` only.

    Examples:
        >>> layers = ap.Layers(kind="self", block="mid")
        >>> with ap.capture(pipe.unet, layers, ap.Keep("q")) as seen:
        ...     picture = pipe("a red disc", num_inference_steps=1).images[0]
        >>> seen["mid_block.attentions.0.transformer_blocks.0.attn1"].shape  # a step first
        torch.Size([1, 2, 4, 64, 32])
    """

    def __init__(self, *tensors: Tensor) -> None:
        unknown = [name for name in tensors if name not in get_args(Tensor)]
        if unknown or not tensors:
            raise CaptureError(
                f"Keep: tensors must be of {', '.join(get_args(Tensor))}. "
                f"Got {', '.join(map(repr, unknown)) or 'none'} instead."
            )
        self.tensors = tensors
        self.linear = EVERY_AXIS.intersection(*(_LINEAR.get(name, ()) for name in tensors))

    def __repr__(self) -> str:
        return f"Keep({', '.join(map(repr, self.tensors))})"

    def record(self, call: AttentionCall) -> Value:
        if len(self.tensors) == 1:
            return self._tensor(call, self.tensors[0])
        return {name: self._tensor(call, name) for name in self.tensors}

    def is_probability(self, part: str) -> bool:
        return (part or self.tensors[0]) == "probs"

    def _tensor(self, call: AttentionCall, name: Tensor) -> torch.Tensor:
        if name in ("q", "k", "v", "out"):
            return getattr(call, name).detach().clone(memory_format=torch.contiguous_format)
        return call.logits() if name == "logits" else call.probs()


@checked
@dataclass(frozen=True)
class Features(Recorder):
    """The outputs at the image's tokens, heads side by side: (batch, H, W, channels) float32.

    Videos: (batch, frames, H, W, channels). Means are over steps only: each head and each layer
    has values of its own.

    Args:
        projected: what the layer hands on, after its own projection ``to_out``; else what
            attention hands to that.

    Examples:
        >>> layers = ap.Layers(kind="self", block="mid")
        >>> with ap.capture(pipe.unet, layers, ap.Features()) as seen:
        ...     picture = pipe("a red disc", num_inference_steps=1).images[0]
        >>> seen["mid_block.attentions.0.transformer_blocks.0.attn1"].shape
        torch.Size([2, 8, 8, 128])
    """

    projected: bool = False

    linear = frozenset({"steps"})

    def record(self, call: AttentionCall) -> torch.Tensor:
        grid = call.query_grid
        if grid is None:
            raise CaptureError(f"Features: the queries of {call.name} lie on no grid known")
        out = rearrange(call.out, "batch heads tokens channels -> batch tokens (heads channels)")
        if self.projected:
            if call.projection is None:
                raise CaptureError(f"Features: {call.name} has no projection to_out of its own")
            out = call.projection(out)
        items = [out[item, call.image_queries(item)].float() for item in range(len(out))]
        frames = grid if grid[0] > 1 else grid[1:]
        return torch.stack(items).unflatten(1, frames)
