"""A recording: a recorder at work over many calls, its results summed or kept step by step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from attnprobe.errors import CaptureError
from attnprobe.hooks.branches import branches_of
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.layers import Layer
from attnprobe.hooks.layout import Tokens
from attnprobe.hooks.ledger import NOTHING_KEPT
from attnprobe.hooks.recorders import Recorder
from attnprobe.hooks.records import HALF_SCALE, Kept, Parts, Record, Records
from attnprobe.units import format_bytes

OverSteps = Literal["mean", "each"]


@dataclass(eq=False)
class _Pass:
    """What one pass has left of a layer; or the sum over steps of what such passes left.

    Args:
        stream: of the passes that belong together over the steps.
        whole: whether the rows are all that the model was given.
        finished: whether `parts` are means, stored as asked, and no longer sums; None amid that.
    """

    stream: int
    branches: tuple[str | None, ...]
    queries: Tokens
    keys: Tokens
    parts: Parts
    whole: bool
    steps: list[int] = field(default_factory=list)
    timesteps: list[float | None] = field(default_factory=list)
    scaled: set[str] = field(default_factory=set)
    finished: bool | None = False

    def load(self) -> Parts:
        """The parts as stored; of an open sum, a mean of its own that later steps don't change."""
        if self.finished is None:
            raise CaptureError(
                "an interrupt came while a layer's steps were averaged; capture again"
            )
        if self.finished:
            return self.parts
        return {name: part / len(self.steps) for name, part in self.parts.items()}


@dataclass(eq=False)
class _Entry:
    layer: Layer
    index: int
    heads: int
    calls: int = 0
    passes: list[_Pass] = field(default_factory=list)


class Recording:
    """Observes calls and keeps what its recorder makes of each.

    Args:
        keep: the recorder.
        over_steps: ``mean``: averaged over the steps as they come, in float32; ``each``: every
            step kept. By default the mean where the recorder is linear over steps.
        dtype: of what is kept in the end. Half precision takes half the memory once stored: each
            step at once, but sums only when the recording is closed. In float16 probabilities are
            scaled up by a power of two: unscaled, small ones would become zero.
        budget: bytes that may be held at any time.

    Raises:
        CaptureError: a mean over steps is asked of a recorder that isn't linear over them.
    """

    def __init__(
        self,
        keep: Recorder,
        over_steps: OverSteps | None = None,
        dtype: torch.dtype = torch.float32,
        budget: int | None = None,
    ) -> None:
        linear = "steps" in keep.linear
        if over_steps not in (None, "mean", "each"):
            raise CaptureError(f"over_steps must be mean or each. Got {over_steps!r} instead.")
        if over_steps == "mean" and not linear:
            raise CaptureError(
                f"{type(keep).__name__} is not linear over steps, so their mean means nothing; "
                "keep them with over_steps='each'"
            )
        if dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise CaptureError(f"dtype must be float32, float16 or bfloat16. Got {dtype} instead.")
        self.keep = keep
        self.over_steps: OverSteps = over_steps or ("mean" if linear else "each")
        self.dtype = dtype
        self.budget = budget
        self.nbytes = 0
        """Bytes held at the moment."""
        self._entries: dict[str, _Entry] = {}

    def __call__(self, call: AttentionCall) -> object:
        """Keep what the recorder makes of a call; `NOTHING_KEPT` if that is nothing.

        Raises:
            CaptureError: the budget is used up, or a size has changed so that steps have no mean.
        """
        entry = self._entries.get(call.name) or _Entry(call.layer, call.index, call.heads)
        total = self._sum(entry, call)
        if total is None and self.budget is not None:
            self._afford(call, self._size(call))
        value = self.keep.record(call)
        if value is None:
            return NOTHING_KEPT
        parts = value if isinstance(value, dict) else {"": value}
        parts = {name: _own(part, call, self.keep) for name, part in parts.items()}
        self._entries[call.name] = entry
        entry.calls += 1
        if total is None:
            total = self._begin(entry, call, parts)
        else:
            _add(total, parts, call)
        total.steps.append(call.step)
        total.timesteps.append(call.timestep)
        if self.over_steps == "each":
            self._finish(total)
        self._afford(call)
        return None

    def close(self) -> None:
        """Turn sums into means and store them as asked."""
        for entry in self._entries.values():
            for total in entry.passes:
                self._finish(total)

    def records(self, model: str) -> Records:
        """What has been kept so far."""
        entries = sorted(self._entries.values(), key=lambda e: (e.layer.index, e.index))
        kept = map(self._record, entries)
        records = {record.name: record for record in kept}
        return Records(records, self.keep, self.over_steps, model)

    def _sum(self, entry: _Entry, call: AttentionCall) -> _Pass | None:
        """The sum that a call goes into: of the passes that belong together."""
        if self.over_steps == "each":
            return None
        stream = call.moment.stream
        return next((total for total in entry.passes if total.stream == stream), None)

    def _begin(self, entry: _Entry, call: AttentionCall, parts: Parts) -> _Pass:
        if self.over_steps == "mean":  # sums are in float32, whatever the model's type
            parts = {name: part.float() for name, part in parts.items()}
        branches = branches_of(call)
        total = _Pass(
            call.moment.stream,
            (None,) * call.shape[0] if branches is None else branches,
            call.queries,
            call.keys,
            parts,
            whole=branches is not None,
        )
        entry.passes.append(total)
        self.nbytes += sum(part.nbytes for part in parts.values())
        return total

    def _afford(self, call: AttentionCall, more: int = 0) -> None:
        """Refuse a call if what is held and that many bytes more are over the budget."""
        if self.budget is None or self.nbytes + more <= self.budget:
            return
        each = self.over_steps == "each"
        fewer = "fewer steps or layers" if each else "fewer layers"
        mean = " or over_steps='mean'" if each and "steps" in self.keep.linear else ""
        raise CaptureError(
            f"the budget of {format_bytes(self.budget)} is used up at step {call.step}, layer "
            f"{call.name}: {format_bytes(self.nbytes)} are held and {format_bytes(more)} more "
            f"wanted; choose {fewer}, a smaller recorder{mean}"
        )

    def _size(self, call: AttentionCall) -> int:
        """Bytes that will be kept of a call, from its shapes alone; 0 if they don't tell."""
        q, k, v, out = (tensor.to("meta") for tensor in (call.q, call.k, call.v, call.out))
        mask = None if call.mask is None else call.mask.to("meta")
        shapes = replace(call, q=q, k=k, v=v, mask=mask, out=out, logsumexp=None, weights=None)
        try:
            with torch.device("meta"):
                value = self.keep.record(shapes)
        except (RuntimeError, NotImplementedError):  # somebody's recorder that reads the numbers
            return 0
        parts = value.values() if isinstance(value, dict) else (value,)
        return sum(part.numel() * self._itemsize(part) for part in parts if part is not None)

    def _itemsize(self, part: torch.Tensor) -> int:
        if self.over_steps == "mean":
            return torch.float32.itemsize
        return self.dtype.itemsize if _narrows(part, self.dtype) else part.element_size()

    def _finish(self, total: _Pass) -> None:
        """Divide a sum by its number of steps and store it as asked, a part at a time."""
        if total.finished is not False:
            return
        total.finished = None
        for name in [*total.parts]:
            part = total.parts[name]
            if len(total.steps) > 1:
                part.div_(len(total.steps))
            if _narrows(part, self.dtype):
                self.nbytes -= part.nbytes
                if self.dtype == torch.float16 and self.keep.is_probability(name):
                    part.mul_(HALF_SCALE)
                    total.scaled.add(name)
                total.parts[name] = part.to(self.dtype)
                self.nbytes += total.parts[name].nbytes
        total.finished = True

    def _record(self, entry: _Entry) -> Record:
        steps: dict[int, list[_Pass]] = {}
        for total in entry.passes:
            number = total.steps[0] if self.over_steps == "each" else 0
            steps.setdefault(number, []).append(total)
        kept = [[_kept(total) for total in passes] for passes in steps.values()]
        return Record(entry.layer, entry.index, entry.heads, entry.calls, kept)


def _kept(total: _Pass) -> Kept:
    return Kept(
        steps=tuple(total.steps),
        timesteps=tuple(total.timesteps),
        branches=total.branches,
        queries=total.queries,
        keys=total.keys,
        scaled=frozenset(total.scaled),
        load=total.load,
        whole=total.whole,
    )


def _own(part: torch.Tensor, call: AttentionCall, keep: Recorder) -> torch.Tensor:
    """The part in memory of its own: not the model's, and none held besides what is kept."""
    if not isinstance(part, torch.Tensor) or part.ndim == 0 or len(part) != call.shape[0]:
        got = tuple(part.shape) if isinstance(part, torch.Tensor) else type(part).__name__
        raise CaptureError(
            f"{type(keep).__name__}.record must return a tensor, or a dict of tensors by name, "
            f"with the batch of {call.shape[0]} as first axis. Got {got} for {call.name} instead."
        )
    memory = part.untyped_storage()
    given = (call.q, call.k, call.v, call.mask, call.out, call.weights)
    models = {t.untyped_storage().data_ptr() for t in given if t is not None}
    if memory.data_ptr() in models or memory.nbytes() != part.nbytes or not part.is_contiguous():
        return part.detach().clone(memory_format=torch.contiguous_format)
    return part.detach()


def _add(total: _Pass, parts: Parts, call: AttentionCall) -> None:
    for name, part in parts.items():
        if part.shape != total.parts[name].shape:
            raise CaptureError(
                f"{call.name} was {tuple(total.parts[name].shape)} at first and is "
                f"{tuple(part.shape)} at step {call.step}, so steps have no mean; use "
                "over_steps='each', or one capture for each size"
            )
        total.parts[name] += part


def _narrows(part: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether storing makes the part smaller: what is half precision by itself stays as it is."""
    return dtype != torch.float32 and part.is_floating_point() and part.itemsize > dtype.itemsize
