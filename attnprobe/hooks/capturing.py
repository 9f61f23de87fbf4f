"""Capture: run a model as usual inside a ``with`` block and have its attention afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from attnprobe.errors import CaptureError
from attnprobe.fields import AttentionField, WordMaps
from attnprobe.hooks.attention_hooks import AttentionHooks, Missing
from attnprobe.hooks.block import Block
from attnprobe.hooks.handle import Steps
from attnprobe.hooks.kernel import Policy
from attnprobe.hooks.layers import Layers, layers_of_text
from attnprobe.hooks.planning import check_budget
from attnprobe.hooks.recorders import HeadMean, Recorder
from attnprobe.hooks.recording import OverSteps, Recording
from attnprobe.hooks.records import Records
from attnprobe.hooks.rows import Item
from attnprobe.units import parse_bytes


class Capture(Block):
    """What is kept of each layer; made by `capture`, filled inside its ``with`` block.

    Batch items stay apart, both guidance branches among them, in the order the model had them;
    where guidance runs pass by pass, the passes of a step lie beside each other along the batch.

    Raises:
        CaptureError: at the end of the block, if a chosen layer was not observed.
    """

    def __init__(
        self,
        hooks: AttentionHooks,
        recording: Recording,
        layers: Layers,
        steps: Steps | None,
    ) -> None:
        self._hooks, self._recording = hooks, recording
        self._handle = hooks.add(recording, layers, steps)
        self._entered = False

    def __enter__(self) -> Self:
        if self._entered:
            raise CaptureError("a capture can be entered once; call capture(...) again")
        return super().__enter__()

    def put_on(self) -> None:
        """Begin to capture; a ``with`` statement does it."""
        self._entered = True
        if self._recording.budget is not None:
            self._hooks.before_first_pass(self._check_budget)
        self._hooks.put_on()

    def take_off(self) -> None:
        """Leave the model as it was; a ``with`` statement does it."""
        self._hooks.take_off()
        self._recording.close()

    def check(self) -> None:
        """Told at the end of a block that ended well: see that all that was chosen was observed."""
        self._hooks.check()

    def new_step(self) -> None:
        """Say that the next pass begins another step; see `AttentionHooks.new_step`."""
        self._hooks.new_step()

    def _check_budget(self, arguments: dict[str, Any]) -> None:
        check_budget(self._hooks, arguments, self._recording, self._handle.selection)

    def __repr__(self) -> str:
        return f"Capture of {self.records!r}"

    def _repr_html_(self) -> str:
        from attnprobe.notebook.tables import records_html

        return records_html(self.records)

    @property
    def records(self) -> Records:
        """All that was kept, a mapping from layer names."""
        return self._recording.records(self._hooks.model_name)

    @property
    def nbytes(self) -> int:
        """Bytes held at the moment."""
        return self._recording.nbytes

    @property
    def layers(self) -> list[dict[str, Any]]:
        """A row a layer: name, kind, block, heads, grid of the queries, calls."""
        return self.records.layers

    def __getitem__(self, name: str) -> Any:
        """What was kept of the layer of that name: a tensor, or a dict of several."""
        return self.records[name]

    def at(self, name: str, item: Item = None, step: int | None = None) -> Any:
        """What was kept of one batch item of a layer; see `Records.at`."""
        return self.records.at(name, item, step)

    def coverage(self) -> list[dict[str, Any]]:
        """A row a chosen layer: name, kind, steps wanted and seen, and why not where not."""
        return self._hooks.coverage(self._handle)

    def fields(self, item: Item = None, step: int | None = None) -> list[AttentionField]:
        """The self- and joint-attention layers of a batch item as fields; see `Records.fields`."""
        return self.records.fields(item, step)

    def words(
        self, item: Item = None, step: int | None = None, head: int | None = None
    ) -> list[WordMaps]:
        """The words' maps of a batch item, one a layer; see `Records.words`."""
        return self.records.words(item, step, head)

    def save(self, path: str | Path) -> None:
        """Write everything into one safetensors file; `load_capture` reads it back."""
        self.records.save(path)


def capture(
    model: nn.Module,
    layers: Layers | None = None,
    keep: Recorder | None = None,
    *,
    steps: Steps | None = None,
    over_steps: OverSteps | None = None,
    dtype: torch.dtype = torch.float32,
    policy: Policy = "tap",
    missing: Missing = "raise",
    budget: int | str | None = None,
    classes: tuple[type, ...] = (),
) -> Capture:
    """Capture the attention of a denoiser while it runs, without changing its output.

    Args:
        model: the denoiser, such as ``pipe.unet``.
        layers: which of its layers; by default all of them, or where words are kept those that look
            at text.
        keep: what to keep of each call; the mean over heads by default.
        steps: at which denoising steps, numbers from 0 or a condition; all by default.
        over_steps: ``mean`` (the default where the recorder allows it) or ``each``.
        dtype: float32, float16 or bfloat16, of what is stored; sums over steps are in float32
            until the block ends.
        policy: about other kernels than PyTorch's; see `AttentionHooks`.
        missing: ``raise`` if a chosen layer was not observed, or ``ignore``.
        budget: bytes that may be held, such as ``"2GiB"``; what a pass would keep is worked out
            before it runs, and refused if it is more.
        classes: attention classes of the model's own, besides diffusers'.

    Examples:
        >>> with ap.capture(pipe.unet, layers=ap.Layers(kind="self")) as seen:
        ...     picture = pipe("a red disc", num_inference_steps=1).images[0]
        >>> seen["mid_block.attentions.0.transformer_blocks.0.attn1"].shape
        torch.Size([2, 64, 64])
    """
    keep = keep or HeadMean()
    if not isinstance(keep, Recorder):
        raise CaptureError(f"keep must be a recorder, such as HeadMean(). Got {keep!r} instead.")
    hooks = AttentionHooks(model, policy, missing, classes)
    limit = None if budget is None else parse_bytes(budget)
    chosen = layers or (layers_of_text(hooks.layers) if keep.of_text else Layers())
    return Capture(hooks, Recording(keep, over_steps, dtype, limit), chosen, steps)
