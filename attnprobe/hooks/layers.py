"""Which attention layers a denoiser has, and which of them are wanted."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from attnprobe.errors import CaptureError
from attnprobe.registry import checked, did_you_mean

if TYPE_CHECKING:
    from torch import nn

Kind = Literal["self", "cross"]


@dataclass(frozen=True)
class Layer:
    """One attention layer of a denoiser.

    Args:
        name: its dotted name inside the denoiser.
        kind: ``self`` if queries and keys are both the image's tokens, ``cross`` if keys are
            another sequence's, such as the prompt's.
        heads: number of heads.
    """

    name: str
    kind: Kind
    heads: int


@checked
@dataclass(frozen=True)
class Layers:
    """A selection of attention layers: those that pass every condition given.

    Args:
        kind: ``self``, ``cross``, or both (None).
        names: shell patterns of layer names, such as ``up_blocks.*``; none given means all.
    """

    kind: Kind | None = None
    names: tuple[str, ...] = ()

    def select(self, layers: list[Layer]) -> list[Layer]:
        """Those of the layers that are wanted, in the model's order.

        Raises:
            CaptureError: a pattern fits no layer, or nothing at all is left.
        """
        for pattern in self.names:
            if not any(fnmatch.fnmatchcase(layer.name, pattern) for layer in layers):
                known = [layer.name for layer in layers]
                raise CaptureError(f"no layer is called {pattern!r}{did_you_mean(pattern, known)}")
        chosen = [layer for layer in layers if self._wants(layer)]
        if not chosen:
            raise CaptureError(f"{self} selects none of the model's {len(layers)} attention layers")
        return chosen

    def _wants(self, layer: Layer) -> bool:
        named = any(fnmatch.fnmatchcase(layer.name, pattern) for pattern in self.names)
        return (self.kind in (None, layer.kind)) and (named or not self.names)


def attention_layers(model: nn.Module) -> list[Layer]:
    """All attention layers of a denoiser, in the order of its modules.

    Raises:
        CaptureError: the model has none.
    """
    from diffusers.models.attention_processor import Attention

    layers = [
        Layer(name, "cross" if module.is_cross_attention else "self", module.heads)
        for name, module in model.named_modules()
        if isinstance(module, Attention)
    ]
    if not layers:
        raise CaptureError(f"{type(model).__name__} has no attention layer of diffusers' Attention")
    return layers
