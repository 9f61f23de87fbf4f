"""The planner: what a capture would keep, in bytes, worked out before any pass is run.

The denoiser is built anew from its config on PyTorch's meta device, which has shapes and no
numbers, and the pass is run there with the same recorder: so the figures are those of the recorder
itself, also of one that somebody else wrote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from attnprobe.errors import CaptureError
from attnprobe.hooks.hooks import AttentionHooks
from attnprobe.hooks.layers import Layers
from attnprobe.hooks.recorders import Entropy, HeadMean, Pooled, Recorder, TopK
from attnprobe.hooks.recording import OverSteps, Recording

_CHEAPER: tuple[Recorder, ...] = (
    HeadMean(),
    Pooled((64, 64)),
    Pooled((32, 32)),
    Pooled((16, 16)),
    TopK(16),
    Entropy(),
)


@dataclass(frozen=True)
class Plan:
    """What a capture of one pass would keep.

    Args:
        rows: a row a layer: name, kind, shapes of what is kept, bytes.
        total: bytes of all of them.
        cheaper: other recorders and the bytes they would keep, dearest first.
    """

    rows: tuple[dict[str, Any], ...]
    total: int
    cheaper: tuple[tuple[Recorder, int], ...]

    def table(self, most: int = 12) -> str:
        """The dearest layers and their cost, a line each."""
        rows = sorted(self.rows, key=lambda row: -row["bytes"])
        lines = [f"  {said(r['bytes']):>10}  {r['shape']}  {r['name']}" for r in rows[:most]]
        if len(rows) > most:
            rest = sum(row["bytes"] for row in rows[most:])
            lines.append(f"  {said(rest):>10}  the other {len(rows) - most} layers")
        return "\n".join(lines)


def plan(
    model: nn.Module,
    inputs: dict[str, Any],
    layers: Layers | None = None,
    keep: Recorder | None = None,
    *,
    over_steps: OverSteps | None = None,
    dtype: torch.dtype = torch.float32,
) -> Plan:
    """Work out what a capture of one pass of a denoiser would keep.

    Args:
        model: the denoiser; only its class and config count, so it may be on the meta device.
        inputs: keyword arguments of its ``forward``; only their shapes count.
        layers: which layers; all of them by default.
        keep: what to keep; the mean over heads by default.
        over_steps: as in `capture`; with ``each`` the figures are those of one step.
        dtype: as in `capture`.

    Raises:
        CaptureError: the model can't run on the meta device.
    """
    recording = Recording(keep or HeadMean(), over_steps, dtype)
    others = [Recording(other, dtype=dtype) for other in _CHEAPER]
    clone = _on_meta(model)
    hooks = AttentionHooks(clone, missing="ignore")
    hooks.add(recording, layers)
    for other in others:
        hooks.add(_leniently(other), layers)
    try:
        with torch.no_grad(), torch.device("meta"), hooks:
            clone(**tree_map(_to_meta, inputs))
    except CaptureError:
        raise
    except Exception as error:
        raise CaptureError(
            f"{type(model).__name__} can't be planned, for it doesn't run without numbers: {error}"
        ) from error
    recording.close()
    rows: list[dict[str, Any]] = []
    for name, record in recording.records(type(model).__name__).records.items():
        parts = record.load()
        shape = " + ".join("×".join(map(str, part.shape)) for part in parts.values())
        size = sum(part.numel() * _size(part, dtype) for part in parts.values())
        rows.append({"name": name, "kind": record.layer.kind, "shape": shape, "bytes": size})
    total = sum(int(row["bytes"]) for row in rows)
    cheaper = sorted(
        ((other.keep, other.nbytes) for other in others if 0 < other.nbytes < total),
        key=lambda pair: -pair[1],
    )
    return Plan(tuple(rows), total, tuple(cheaper))


def check_budget(
    model: nn.Module, inputs: dict[str, Any], recording: Recording, layers: Layers, budget: int
) -> None:
    """Refuse a capture whose first pass would keep more than the budget.

    A model that doesn't run on the meta device can't be planned; its capture is stopped at the
    layer where the budget is used up.

    Raises:
        CaptureError: with the table of what costs what, and recorders that would fit.
    """
    try:
        planned = plan(
            model,
            inputs,
            layers,
            recording.keep,
            over_steps=recording.over_steps,
            dtype=recording.dtype,
        )
    except CaptureError:
        return
    if planned.total <= budget:
        return
    fitting = [f"{keep!r} ({said(size)})" for keep, size in planned.cheaper if size <= budget]
    raise CaptureError(
        f"one pass would keep {said(planned.total)}, the budget is {said(budget)}:\n"
        f"{planned.table()}\n"
        f"would fit: {', '.join(fitting) or 'none of the recorders; choose fewer layers'}"
    )


def parse_bytes(given: int | str) -> int:
    """``2GiB``, ``500 MB`` or a number of bytes.

    Raises:
        CaptureError: it is neither.
    """
    if isinstance(given, int) and given > 0:
        return given
    units = {"": 1, "K": 1, "M": 2, "G": 3, "T": 4}
    match = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?)(i?)B?\s*", str(given), re.IGNORECASE)
    try:
        if match is None:
            raise ValueError
        power = units[match[2].upper()] if match[2] else 0
        size = int(float(match[1]) * (1024 if match[3] else 1000) ** power)
    except ValueError:
        size = 0
    if size <= 0:
        raise CaptureError(f"budget must be bytes, such as '2GiB'. Got {given!r} instead.")
    return size


def said(size: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _on_meta(model: nn.Module) -> nn.Module:
    model = getattr(model, "_orig_mod", model)
    config: Any = getattr(model, "config", None)
    build: Any = getattr(type(model), "from_config", None)
    if config is None or build is None:
        raise CaptureError(f"{type(model).__name__} has no config to plan from")
    with torch.device("meta"):
        return build(config).eval()


def _to_meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, torch.Tensor) else value


def _size(part: torch.Tensor, dtype: torch.dtype) -> int:
    return dtype.itemsize if part.is_floating_point() else part.element_size()


def _leniently(recording: Recording) -> Any:
    def observe(call: Any) -> None:
        try:
            recording(call)
        except CaptureError:  # this recorder isn't for such layers, so it is no alternative
            recording.entries.clear()

    return observe
