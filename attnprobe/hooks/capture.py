"""Capture: run a model as usual inside a ``with`` block and have its attention afterwards."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from attnprobe.errors import CaptureError
from attnprobe.fields import AttentionField
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.layers import Layer, Layers, attention_layers
from attnprobe.hooks.recorders import HeadMean
from attnprobe.hooks.tap import Tap
from attnprobe.registry import did_you_mean
from attnprobe.resample import Grid


@dataclass
class _Kept:
    layer: Layer
    total: torch.Tensor | None = None
    calls: int = 0
    grid: Grid | None = None


@dataclass(eq=False)
class Capture:
    """What was kept of each layer; made by `capture`, filled inside its ``with`` block.

    Maps are averaged over the calls of a layer (denoising steps); batch items stay apart.

    Raises:
        CaptureError: at the end of the block, if a chosen layer was never seen.
    """

    model: nn.Module
    selection: Layers
    keep: HeadMean
    _kept: dict[str, _Kept] = field(default_factory=dict, repr=False)
    _latent: Grid | None = field(default=None, repr=False)
    _passes: int = field(default=0, repr=False)

    def __enter__(self) -> Capture:
        if self._kept:
            raise CaptureError("a capture can be entered once; call capture(...) again")
        chosen = self.selection.select(attention_layers(self.model))
        self._kept = {layer.name: _Kept(layer) for layer in chosen}
        self._tap = Tap(self.model, chosen, self._observe)
        self._watch = self.model.register_forward_pre_hook(self._note_pass, with_kwargs=True)
        self._tap.__enter__()
        return self

    def __exit__(self, kind: Any, *rest: Any) -> None:
        self._tap.__exit__(kind, *rest)
        self._watch.remove()
        del self._tap, self._watch
        if kind is None:
            self._check_all_seen()

    def _note_pass(self, model: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        sample = args[0] if args else kwargs.get("sample", kwargs.get("hidden_states"))
        if isinstance(sample, torch.Tensor) and sample.ndim == 4:
            self._latent = (sample.shape[2], sample.shape[3])
        self._passes += 1

    def _observe(self, call: AttentionCall) -> None:
        kept = self._kept[call.layer.name]
        if call.layer.kind == "self":
            kept.grid = solve_grid(call.query.shape[2], self._latent)
        kept.total = self.keep.record(call, kept.total)
        kept.calls += 1

    def _check_all_seen(self) -> None:
        unseen = [kept.layer.name for kept in self._kept.values() if not kept.calls]
        if not unseen:
            return
        if not self._passes:
            raise CaptureError(
                f"the model {type(self.model).__name__} did not run inside the capture"
            )
        processors = {type(self.model.get_submodule(name).processor).__name__ for name in unseen}
        raise CaptureError(
            f"{len(unseen)} of {len(self._kept)} layers made no call of scaled dot-product "
            f"attention (processors: {', '.join(sorted(processors))}): {', '.join(unseen)}"
        )

    @property
    def layers(self) -> list[dict[str, Any]]:
        """A row a layer: name, kind, heads, grid (of the queries, if an image's), calls."""
        return [
            asdict(kept.layer) | {"grid": kept.grid, "calls": kept.calls}
            for kept in self._kept.values()
        ]

    def __getitem__(self, name: str) -> torch.Tensor:
        """What was kept of the layer of that name, the mean over its calls."""
        if name not in self._kept:
            raise CaptureError(f"nothing was kept of {name!r}{did_you_mean(name, [*self._kept])}")
        kept = self._kept[name]
        if kept.total is None:
            raise CaptureError(f"layer {name} has not run yet")
        return kept.total / kept.calls

    def fields(self, item: int = 0) -> list[AttentionField]:
        """The self-attention layers of a batch item as fields, in the model's order."""
        fields = []
        for name, kept in self._kept.items():
            if kept.layer.kind == "self":
                if kept.grid is None:
                    raise CaptureError(f"the tokens of layer {name} lie on no grid known")
                fields.append(AttentionField(self[name][item], kept.grid, origin=name))
        if not fields:
            raise CaptureError("no self-attention layer was captured, so there are no fields")
        return fields


def capture(
    model: nn.Module, layers: Layers | None = None, keep: HeadMean | None = None
) -> Capture:
    """Capture the attention of a denoiser while it runs, without changing its output.

    Args:
        model: the denoiser, such as ``pipe.unet``.
        layers: which of its layers; all of them by default.
        keep: what to keep of each call; the mean over heads by default.

    Examples:
        >>> with ap.capture(pipe.unet, layers=ap.Layers(kind="self")) as capture:
        ...     pipe("a cat on a sofa")
        >>> capture["mid_block.attentions.0.transformer_blocks.0.attn1"]
    """
    return Capture(model, layers or Layers(), keep or HeadMean())


def solve_grid(tokens: int, latent: Grid | None) -> Grid | None:
    """The grid of that many tokens: the latent's size halved, rounding up, until it fits.

    Never a square root: ⌈H/2ᵏ⌉·⌈W/2ᵏ⌉ = tokens. None if no k fits or the latent is unknown.
    """
    while latent is not None and latent[0] * latent[1] >= tokens:
        if latent[0] * latent[1] == tokens:
            return latent
        if latent == (1, 1):
            break
        latent = (-(-latent[0] // 2), -(-latent[1] // 2))
    return None
