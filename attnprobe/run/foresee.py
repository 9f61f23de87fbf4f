"""What would stop a run at its start, found without loading a model or opening a picture."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attnprobe.errors import AttnProbeError
from attnprobe.probe import MAPS

if TYPE_CHECKING:
    from attnprobe.hooks.layers import Layer
    from attnprobe.models import ModelSpec
    from attnprobe.recipe import Recipe
    from attnprobe.recipe.sweep import Point


def foreseen(points: Sequence[Point]) -> list[str]:
    """The faults of a recipe, or of a sweep's points, that a run would end with, a sentence each.

    Images are listed and the device is tried. The layers are those of the model's architecture,
    where it is at hand: that of a preset, or in a folder; the hub is not asked.
    """
    faults: dict[str, None] = {}  # in order, each once
    for source in points[0].recipe.sources:  # no sweep goes over them
        faults |= dict.fromkeys(_fault("images", source))
    for point in points:
        faults |= dict.fromkeys(_faults(point.recipe))
    return list(faults)


def _faults(recipe: Recipe) -> Iterator[str]:
    from attnprobe.run.carry import scorer_of

    yield from _fault("model.device", _device, recipe.model)
    yield from _model(recipe)
    yield from _fault("", scorer_of, recipe)


def _fault(where: str, check: Any, *given: Any) -> Iterator[str]:
    try:
        check(*given)
    except AttnProbeError as error:
        yield f"{where}: {error}" if where else str(error)


def _device(spec: ModelSpec) -> None:
    from attnprobe.models.spec import device_of

    if spec.device is not None:
        device_of(spec.device)


def _model(recipe: Recipe) -> Iterator[str]:
    """What is wrong with a model that is at hand, or with the layers that would be watched."""
    from attnprobe.models.hub import is_local, locate
    from attnprobe.models.presets import PRESETS

    spec, probe = recipe.model, recipe.probe
    preset = PRESETS.get(spec.preset or "")
    repo = preset.repo if preset else spec.repo or ""
    if not (is_local(repo) or (preset and preset.architecture)):
        return
    try:
        if is_local(repo):
            locate(repo, spec.revision)
        layers = _layers(spec.preset or repo)
    except AttnProbeError as error:
        yield f"model: {error}"
        return
    needs = getattr(recipe.aggregate, "needs", MAPS)
    for key, chosen in probe.layers_for(needs).items():
        yield from _fault(f"probe.{key}", chosen.select, layers)


@functools.lru_cache(maxsize=4)  # the points of a sweep mostly have one model
def _layers(model: str) -> list[Layer]:
    from attnprobe.hooks import attention_layers
    from attnprobe.models.skeleton import skeleton

    return attention_layers(skeleton(model))
