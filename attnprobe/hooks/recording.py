"""A recording: a recorder at work over many calls, its results summed or kept step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.layers import Layer
from attnprobe.hooks.recorders import Recorder
from attnprobe.hooks.records import Parts, Record, Records
from attnprobe.hooks.tokens import Tokens

OverSteps = Literal["mean", "each"]


@dataclass(eq=False)
class _Run:
    """What one pass of the step (there are two where guidance runs pass by pass) has kept."""

    branches: tuple[str | None, ...]
    steps: list[int] = field(default_factory=list)
    timesteps: list[float | None] = field(default_factory=list)
    kept: list[Parts] = field(default_factory=list)


@dataclass(eq=False)
class _Entry:
    layer: Layer
    index: int
    heads: int
    queries: Tokens
    keys: Tokens
    calls: int = 0
    runs: dict[int, _Run] = field(default_factory=dict)


class Recording:
    """Observes calls and keeps what its recorder makes of each.

    Args:
        keep: the recorder.
        over_steps: ``mean``: averaged over the steps as they come, in float32; ``each``: every
            step kept. By default the mean where the recorder is linear over steps.
        dtype: of what is kept in the end. In float16 maps are stored times their number of keys:
            unscaled, small probabilities would become zero.

    Raises:
        CaptureError: a mean over steps is asked of a recorder that isn't linear over them.
    """

    def __init__(
        self,
        keep: Recorder,
        over_steps: OverSteps | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        linear = "steps" in keep.linear
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
        self.entries: dict[str, _Entry] = {}

    def __call__(self, call: AttentionCall) -> None:
        """Keep what the recorder makes of a call."""
        value = self.keep.record(call)
        parts = value if isinstance(value, dict) else {"": value}
        entry = self.entries.get(call.name)
        if entry is None:
            entry = _Entry(call.layer, call.index, call.heads, call.queries, call.keys)
            self.entries[call.name] = entry
        run = entry.runs.setdefault(call.moment.run, _Run(call.moment.branches))
        self._add(run, parts, call)
        entry.calls += 1

    def _add(self, run: _Run, parts: Parts, call: AttentionCall) -> None:
        if self.over_steps == "mean" and run.kept:
            (total,) = run.kept
            for name, part in parts.items():
                if part.shape != total[name].shape:
                    raise CaptureError(
                        f"{call.name} was {tuple(total[name].shape)} at first and is "
                        f"{tuple(part.shape)} at step {call.step}, so steps have no mean; use "
                        "over_steps='each', or one capture for each size"
                    )
                total[name] += part
        else:
            narrow = self.over_steps == "each"
            run.kept.append({k: self._stored(p) if narrow else p for k, p in parts.items()})
        run.steps.append(call.step)
        run.timesteps.append(call.timestep)

    @property
    def nbytes(self) -> int:
        """Bytes held at the moment."""
        return sum(
            part.nbytes
            for entry in self.entries.values()
            for run in entry.runs.values()
            for parts in run.kept
            for part in parts.values()
        )

    def close(self) -> None:
        """Turn sums into means and store them as asked."""
        if self.over_steps == "each":
            return
        for entry in self.entries.values():
            for run in entry.runs.values():
                (total,) = run.kept
                count = len(run.steps)
                mean = {k: p.div_(count) if count > 1 else p for k, p in total.items()}
                run.kept = [{k: self._stored(p) for k, p in mean.items()}]
                run.steps = run.steps[:1]

    def records(self, model: str) -> Records:
        """What has been kept so far."""
        records = {name: self._record(entry) for name, entry in self._ordered()}
        half = self.dtype == torch.float16
        return Records(records, self.keep, self.over_steps, model, half)

    def _ordered(self) -> list[tuple[str, _Entry]]:
        return sorted(self.entries.items(), key=lambda e: (e[1].layer.index, e[1].index))

    def _record(self, entry: _Entry) -> Record:
        runs = [entry.runs[number] for number in sorted(entry.runs)]
        return Record(
            layer=entry.layer,
            index=entry.index,
            queries=entry.queries,
            keys=entry.keys,
            heads=entry.heads,
            branches=tuple(branch for run in runs for branch in run.branches),
            timesteps=tuple(runs[0].timesteps),
            calls=entry.calls,
            load=lambda: self._load(runs),
        )

    def _load(self, runs: list[_Run]) -> Parts:
        """The passes of a step beside each other along the batch; steps before it, if kept."""

        def joined(name: str, place: int) -> torch.Tensor:
            parts = [self._restored(run.kept[place][name]) for run in runs]
            part = parts[0] if len(parts) == 1 else torch.cat(parts)
            count = len(runs[0].steps) if self.over_steps == "mean" else 1
            return part / count if count > 1 else part  # a block still open

        names = runs[0].kept[0]
        if self.over_steps == "mean":
            return {name: joined(name, 0) for name in names}
        steps = min(len(run.kept) for run in runs)
        return {name: torch.stack([joined(name, i) for i in range(steps)]) for name in names}

    def _stored(self, part: torch.Tensor) -> torch.Tensor:
        if not part.is_floating_point() or part.dtype == self.dtype:
            return part
        scale = part.shape[-1] if self._scaled else 1
        return (part * scale).to(self.dtype)

    def _restored(self, part: torch.Tensor) -> torch.Tensor:
        if self._scaled and part.dtype == torch.float16:
            return part.float() / part.shape[-1]
        return part

    @property
    def _scaled(self) -> bool:
        return self.keep.distribution and self.dtype == torch.float16
