"""The pipeline that runs a denoiser: its place in the scheduler's timesteps, and its texts.

A denoiser is told neither which step it is nor which row of a batch is the prompt's. The pipeline
knows both, by variables whose names mean one thing in all of diffusers: ``i`` and ``t`` of its loop
over ``timesteps``, and ``negative_prompt_embeds`` beside ``prompt_embeds``. They are read from its
frame on the stack of the call, and believed only where they agree with each other: the i-th
timestep must be ``t``. Where no pipeline of diffusers is on the stack, nobody is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch

_NEGATIVE = "negative_"
_PIPELINES = (("diffusers.pipelines.pipeline_utils", "DiffusionPipeline"),)
_BLOCKS = (("diffusers.modular_pipelines.modular_pipeline", "ModularPipelineBlocks"),)


@dataclass(frozen=True, eq=False)
class Caller:
    """What a pipeline says at one pass of its denoiser.

    Args:
        timesteps: of its loop, the very tensor; None if no such loop was found.
        turn: place in them.
        pairs: (positive, negative) values that it calls ``name`` and ``negative_name``.
        guided: whether it does classifier-free guidance; None if it doesn't say.
        perturbed: whether it does perturbed-attention guidance, whose rows come last.
        named: what a guider calls the pass, such as ``pred_uncond``.
    """

    timesteps: Any = None
    turn: int = -1
    pairs: tuple[tuple[Any, Any], ...] = ()
    guided: bool | None = None
    perturbed: bool = False
    named: str | None = None

    def same_turn(self, other: Caller) -> bool:
        """Whether both passes were run in one turn of one loop."""
        return self.timesteps is other.timesteps and self.turn == other.turn


@dataclass(eq=False)
class _Met:
    """Local variables of a pipeline's frames, the innermost first."""

    pipeline: Any
    frames: list[dict[str, Any]] = field(default_factory=list)


def find_caller() -> Caller | None:
    """The pipeline that is running the denoiser on this thread, or None."""
    met = _innermost()
    if met is None:
        return None
    timesteps, turn = _turn(met)
    return Caller(
        timesteps=timesteps,
        turn=turn,
        pairs=tuple(pair for names in met.frames for pair in _pairs(names)),
        guided=_guided(met),
        perturbed=_flag(met.pipeline, "do_perturbed_attention_guidance") is True,
        named=next(filter(None, map(_named, met.frames)), None),
    )


def _innermost() -> _Met | None:
    pipelines, blocks = _loaded(_PIPELINES), _loaded(_BLOCKS)
    met: _Met | None = None
    for names in _methods(sys._getframe()):
        owner = names["self"]
        if met is None and isinstance(owner, (*pipelines, *blocks)):
            met = _Met(owner)
        if met is not None and (owner is met.pipeline or isinstance(owner, blocks)):
            met.frames.append(names)
    return met


def _loaded(classes: tuple[tuple[str, str], ...]) -> tuple[type, ...]:
    """Those classes whose modules are imported: of others there is no object."""
    found = (getattr(sys.modules.get(module), name, None) for module, name in classes)
    return tuple(cls for cls in found if cls is not None)


def _methods(frame: FrameType | None) -> Iterator[dict[str, Any]]:
    """Local variables of the methods that are running, the innermost first."""
    while frame is not None:
        names = frame.f_code.co_varnames
        if names[:1] == ("self",) and frame.f_globals.get("__name__", "").partition(".")[0] not in (
            "torch",
            "attnprobe",
        ):
            values = frame.f_locals
            if "self" in values:
                yield values
        frame = frame.f_back


def _turn(met: _Met) -> tuple[Any, int]:
    """The timesteps that a pipeline goes through and its place there, if its variables agree."""
    for names in met.frames:
        turn, now = names.get("i"), names.get("t")
        if not isinstance(turn, int) or now is None:
            continue
        own = getattr(names.get("block_state"), "timesteps", None)
        scheduled = getattr(getattr(met.pipeline, "scheduler", None), "timesteps", None)
        for timesteps in (names.get("timesteps"), own, scheduled):
            if _is_at(timesteps, turn, now):
                return timesteps, turn
    return None, -1


def _is_at(timesteps: Any, turn: int, now: Any) -> bool:
    try:
        return 0 <= turn < len(timesteps) and bool((torch.as_tensor(timesteps[turn] == now)).all())
    except (TypeError, RuntimeError, ValueError):
        return False


def _pairs(names: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    for name, negative in names.items():
        if name.startswith(_NEGATIVE) and negative is not None:
            positive = names.get(name.removeprefix(_NEGATIVE))
            if _are_tensors(positive) and _are_tensors(negative):
                yield positive, negative


def _are_tensors(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(one, torch.Tensor) for one in value)
    return isinstance(value, torch.Tensor) and value.ndim > 0


def _named(names: dict[str, Any]) -> str | None:
    """What a guider of diffusers' modular pipelines calls the pass that is run for it."""
    return getattr(names.get("guider_state_batch"), "__guidance_identifier__", None)


def _guided(met: _Met) -> bool | None:
    name = "do_classifier_free_guidance"
    for names in met.frames:
        if isinstance(names.get(name), bool):
            return names[name]
    told = _flag(met.pipeline, name)
    return told if isinstance(told, bool) else None


def _flag(pipeline: Any, name: str) -> Any:
    """A property of the pipeline, which may lean on what isn't set yet."""
    try:
        return getattr(pipeline, name, None)
    except Exception:
        return None
