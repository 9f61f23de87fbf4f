"""The planner: what a capture would keep, in bytes, worked out before any pass is run.

The denoiser is built anew from its config on PyTorch's meta device, which has shapes and no
numbers, and the pass is run there with the same recorder: so the figures are those of the recorder
itself, also of one that somebody else wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import nn

from attnprobe.errors import CaptureError
from attnprobe.hooks import _private
from attnprobe.hooks.attention_hooks import AttentionHooks
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.families import module_named, plain_name, unwrapped
from attnprobe.hooks.finding import attention_layers
from attnprobe.hooks.handle import Observer
from attnprobe.hooks.layers import Layers, layers_of_text
from attnprobe.hooks.layout_readers import read_layout
from attnprobe.hooks.recorders import Entropy, HeadMean, Pooled, Recorder, TopK
from attnprobe.hooks.recording import OverSteps, Recording
from attnprobe.units import format_bytes

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
        total: bytes of all of them, as stored in the end.
        held: bytes held at the end of the pass: more than `total` where sums over steps are to be
            stored in half precision, for they are in float32 until the capture ends.
    """

    rows: tuple[dict[str, Any], ...]
    total: int
    held: int

    def table(self, most: int = 12) -> str:
        """The dearest layers and their cost, a line each."""
        rows = sorted(self.rows, key=lambda row: -row["bytes"])
        lines = [
            f"  {format_bytes(r['bytes']):>10}  {r['shape']}  {r['name']}" for r in rows[:most]
        ]
        if len(rows) > most:
            rest = sum(row["bytes"] for row in rows[most:])
            lines.append(f"  {format_bytes(rest):>10}  the other {len(rows) - most} layers")
        return "\n".join(lines)


def plan(
    model: nn.Module,
    inputs: dict[str, Any],
    layers: Layers | None = None,
    keep: Recorder | None = None,
    *,
    over_steps: OverSteps | None = None,
    dtype: torch.dtype = torch.float32,
    classes: tuple[type, ...] = (),
) -> Plan:
    """Work out what a capture of one pass of a denoiser would keep.

    Args:
        model: the denoiser; only its class, config and type count, so it may be on the meta device.
        inputs: keyword arguments of its ``forward``; only their shapes count.
        layers: which layers; as in `capture` by default.
        keep: what to keep; the mean over heads by default.
        over_steps: as in `capture`; with ``each`` the figures are those of one step.
        dtype: as in `capture`.
        classes: as in `capture`.

    Raises:
        CaptureError: the model can't run on the meta device.

    Examples:
        >>> sample, text = torch.zeros(1, 4, 16, 16), torch.zeros(1, 77, 128)
        >>> inputs = {"sample": sample, "timestep": 1, "encoder_hidden_states": text}
        >>> ap.plan(pipe.unet, inputs, ap.Layers(kind="self")).total
        839680
    """
    recording = Recording(keep or HeadMean(), over_steps, dtype)
    if layers is None and recording.keep.of_text:
        layers = layers_of_text(attention_layers(unwrapped(model), classes))
    _run_on_meta(model, inputs, layers, [recording], classes)
    held = recording.nbytes
    recording.close()
    rows: list[dict[str, Any]] = []
    for name, record in recording.records(type(model).__name__).records.items():
        parts = [
            part for passes in record.steps for kept in passes for part in kept.load().values()
        ]
        shape = " + ".join("×".join(map(str, part.shape)) for part in parts)
        size = sum(part.nbytes for part in parts)
        rows.append({"name": name, "kind": record.layer.kind, "shape": shape, "bytes": size})
    return Plan(tuple(rows), recording.nbytes, held)


def check_budget(
    hooks: AttentionHooks, inputs: dict[str, Any], recording: Recording, layers: Layers
) -> None:
    """Refuse a capture whose first pass would hold more than the recording's budget.

    A model that doesn't run on the meta device can't be planned; its capture is stopped at the
    layer where the budget is used up.

    Raises:
        CaptureError: with the table of what costs what, and recorders that would fit.
    """
    keep, over_steps, dtype = recording.keep, recording.over_steps, recording.dtype
    classes = tuple({type(module_named(hooks.model, layer.name)) for layer in hooks.layers})
    try:
        planned = plan(
            hooks.model, inputs, layers, keep, over_steps=over_steps, dtype=dtype, classes=classes
        )
    except CaptureError:
        return
    budget = recording.budget
    if budget is None or planned.held <= budget:
        return
    others = [Recording(other, dtype=dtype) for other in _CHEAPER]
    observers = [_Lenient(other) for other in others]
    _run_on_meta(hooks.model, inputs, layers, observers, classes)
    sizes = [(o.recording.keep, o.recording.nbytes) for o in observers if not o.failed]
    fitting = [f"{other!r} ({format_bytes(size)})" for other, size in sizes if size <= budget]
    sums = ""
    if planned.total < planned.held:
        sums = (
            f"it would store {format_bytes(planned.total)} in the end, but sums over steps are in "
            "float32 until then; over_steps='each' stores each step at once\n"
        )
    raise CaptureError(
        f"one pass would hold {format_bytes(planned.held)}, the budget is {format_bytes(budget)}:\n"
        f"{planned.table()}\n{sums}"
        f"would fit: {', '.join(fitting) or 'none of the recorders; choose fewer layers'}"
    )


class _Lenient:
    """A recording that is given up at the first layer its recorder isn't made for."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.failed = False

    def __call__(self, call: AttentionCall) -> None:
        if not self.failed:
            try:
                self.recording(call)
            except CaptureError:
                self.failed = True


def _run_on_meta(
    model: nn.Module,
    inputs: dict[str, Any],
    layers: Layers | None,
    observers: Sequence[Observer],
    classes: tuple[type, ...],
) -> None:
    model = unwrapped(model)
    clone = _on_meta(model)
    chosen = layers or Layers()
    # Where tokens lie may be told by numbers (ids of places, masks), which meta tensors lack.
    layout = read_layout(model, inputs)

    def observe(call: AttentionCall) -> None:
        for observer in observers:
            observer(replace(call, logsumexp=None, weights=None))

    hooks = AttentionHooks(clone, missing="ignore", classes=classes)
    hooks.add(observe, chosen)
    hooks.before_first_pass(lambda _: hooks.lay_out(layout))
    try:
        with torch.no_grad(), torch.device("meta"), hooks:
            clone(**_private.tree_map(_to_meta, inputs))
    except CaptureError:
        raise
    except Exception as error:
        raise CaptureError(
            f"{type(model).__name__} can't be planned, for it doesn't run without numbers: {error}"
        ) from error


def _on_meta(model: nn.Module) -> nn.Module:
    config: Any = getattr(model, "config", None)
    build: Any = getattr(type(model), "from_config", None)
    if config is None or build is None:
        raise CaptureError(f"{type(model).__name__} has no config to plan from")
    with torch.device("meta"):
        clone: nn.Module = build(config).eval()
    types = {plain_name(name): tensor.dtype for name, tensor in _tensors(model)}
    for name, tensor in _tensors(clone):
        tensor.data = tensor.data.to(types.get(name, tensor.dtype))
    modules = dict(clone.named_modules())
    for wrapped, module in model.named_modules():
        name = plain_name(wrapped)
        processor = getattr(module, "processor", None)
        if processor is not None and not isinstance(processor, nn.Module) and name in modules:
            modules[name].processor = processor  # which kernel is called, how often, is its matter
    return clone


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    return chain(model.named_parameters(), model.named_buffers())


def _to_meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, torch.Tensor) else value
