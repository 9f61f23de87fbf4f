"""A call of an attention kernel as the taps see it, and who listens to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from attnprobe.hooks import _private
from attnprobe.hooks.layers import Layer

Policy = Literal["tap", "force_native", "error"]
"""What is done with a kernel that keeps no probabilities; see `AttentionHooks`."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """Arguments and result of one attention kernel, heads before tokens; see `AttentionCall`."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    mask: torch.Tensor | None
    scale: float
    is_causal: bool
    out: torch.Tensor
    logsumexp: torch.Tensor | None = None
    weights: torch.Tensor | None = None


class SeeNormaliser(_private.DispatchMode):
    """Keeps the logsumexp that the CPU's flash kernel computes beside its output.

    With it probabilities need no softmax of their own, for p = exp(scale · q·k − logsumexp).
    Wraps one call of scaled dot-product attention, which runs as it would without. `logsumexp`,
    (batch, heads, queries), stays None where no such kernel ran: on other devices, with dropout,
    and where PyTorch falls back to plain operations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.logsumexp: torch.Tensor | None = None

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = str(func)
        if name == "aten.scaled_dot_product_attention.default":
            with self:  # inference mode hands over the composite, whose kernel is to be seen
                return func.decompose(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        if name == _private.CPU_FLASH:
            self.logsumexp = result[1].detach()
        return result


class _Depth(threading.local):
    value = 0


_depth = _Depth()


def depth() -> int:
    """How many computations of this thread are unheard, one inside the other."""
    return _depth.value


@contextmanager
def unheard() -> Iterator[None]:
    """For what is computed inside a kernel or by an observer, which is no call of the model's.

    Taps opened inside (an observer may capture another model) do hear it.
    """
    _depth.value += 1
    try:
        yield
    finally:
        _depth.value -= 1


class Listener(Protocol):
    """A tap, as those see it who tell it of calls."""

    policy: Policy
    calls: int

    @property
    def layer(self) -> Layer | None:
        """The layer at work on this thread, if one is and its calls are wanted."""

    def tell(self, layer: Layer, kernel: Kernel) -> torch.Tensor | None:
        """Told of a call; what is to take the place of its output, if anything."""
