"""attnprobe: probe the attention of diffusion models.

Hook any attention tensor, fold many maps into one field, group the field into segments, score the
segments, and say all of it in one YAML recipe.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnprobe.data.images import read_image
    from attnprobe.errors import AttnProbeError
    from attnprobe.fields import AttentionField, Segmentation
    from attnprobe.hooks import (
        AttentionHooks,
        HeadMean,
        Keep,
        Layers,
        PerHead,
        Recorder,
        TokenMaps,
        load_capture,
    )
    from attnprobe.hooks.capture import capture
    from attnprobe.hooks.plan import plan
    from attnprobe.models import ModelSpec
    from attnprobe.pipeline import Pipeline
    from attnprobe.probe import Probe
    from attnprobe.recipe import Recipe, load_recipe
    from attnprobe.registry import aggregator, grouper, refiner, source
    from attnprobe.view.widget import explore

    __version__: str

#: Seconds since 1970 when the first of the package was imported: a file that is newer may say other
#: than what runs.
IMPORTED = time.time()

#: Public name -> the module that has it, imported when the name is first used: torch takes seconds.
_HOMES = {
    "AttentionField": "attnprobe.fields",
    "AttentionHooks": "attnprobe.hooks",
    "AttnProbeError": "attnprobe.errors",
    "HeadMean": "attnprobe.hooks",
    "Keep": "attnprobe.hooks",
    "Layers": "attnprobe.hooks",
    "ModelSpec": "attnprobe.models",
    "PerHead": "attnprobe.hooks",
    "Pipeline": "attnprobe.pipeline",
    "Probe": "attnprobe.probe",
    "Recipe": "attnprobe.recipe",
    "Recorder": "attnprobe.hooks",
    "Segmentation": "attnprobe.fields",
    "TokenMaps": "attnprobe.hooks",
    "aggregator": "attnprobe.registry",
    "capture": "attnprobe.hooks.capture",
    "explore": "attnprobe.view.widget",
    "grouper": "attnprobe.registry",
    "load_capture": "attnprobe.hooks",
    "load_recipe": "attnprobe.recipe",
    "plan": "attnprobe.hooks.plan",
    "read_image": "attnprobe.data.images",
    "refiner": "attnprobe.registry",
    "source": "attnprobe.registry",
}

__all__ = [
    "AttentionField",
    "AttentionHooks",
    "AttnProbeError",
    "HeadMean",
    "Keep",
    "Layers",
    "ModelSpec",
    "PerHead",
    "Pipeline",
    "Probe",
    "Recipe",
    "Recorder",
    "Segmentation",
    "TokenMaps",
    "aggregator",
    "capture",
    "explore",
    "grouper",
    "load_capture",
    "load_recipe",
    "plan",
    "read_image",
    "refiner",
    "source",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("attnprobe")
    except PackageNotFoundError:  # a checkout that is not installed
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
