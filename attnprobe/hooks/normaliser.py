"""The kernel's own normaliser: PyTorch's flash attention on the CPU computes it and throws it away.

With it probabilities need no softmax of their own, for p = exp(scale · q·k − logsumexp).
"""

from __future__ import annotations

from typing import Any

import torch

from attnprobe.hooks import _private


class SeeNormaliser(_private.DispatchMode):
    """Keeps the logsumexp that the CPU's flash kernel computes beside its output.

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
