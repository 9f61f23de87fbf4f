"""attnprobe: probe the attention of diffusion models.

Hook any attention tensor, fold many maps into one field, group the field into segments, score the
segments, and say all of it in one YAML recipe.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from attnprobe.about import version

if TYPE_CHECKING:
    from attnprobe.data.base import Sample
    from attnprobe.errors import AttnProbeError
    from attnprobe.fields import AttentionField, Segmentation, WordMaps
    from attnprobe.hooks import (
        AttentionHooks,
        Entropy,
        Features,
        HeadMax,
        HeadMean,
        Keep,
        Layers,
        PerHead,
        Pooled,
        Recorder,
        Rows,
        TextMaps,
        TokenMaps,
        TopK,
        load_capture,
    )
    from attnprobe.hooks.capturing import capture
    from attnprobe.hooks.planning import plan
    from attnprobe.models import ModelSpec
    from attnprobe.pictures.reading import read_image
    from attnprobe.pipeline import Pipeline
    from attnprobe.probe import Probe
    from attnprobe.recipe import Recipe, load_recipe
    from attnprobe.registry import aggregator, grouper, labeller, refiner, source
    from attnprobe.view.widget import explore

    __version__: str

#: Public name -> the module that has it, imported when the name is first used: torch takes seconds.
_HOMES = {
    "AttentionField": "attnprobe.fields",
    "AttentionHooks": "attnprobe.hooks",
    "AttnProbeError": "attnprobe.errors",
    "Entropy": "attnprobe.hooks",
    "Features": "attnprobe.hooks",
    "HeadMax": "attnprobe.hooks",
    "HeadMean": "attnprobe.hooks",
    "Keep": "attnprobe.hooks",
    "Layers": "attnprobe.hooks",
    "ModelSpec": "attnprobe.models",
    "PerHead": "attnprobe.hooks",
    "Pipeline": "attnprobe.pipeline",
    "Pooled": "attnprobe.hooks",
    "Probe": "attnprobe.probe",
    "Recipe": "attnprobe.recipe",
    "Recorder": "attnprobe.hooks",
    "Rows": "attnprobe.hooks",
    "Sample": "attnprobe.data.base",
    "Segmentation": "attnprobe.fields",
    "TextMaps": "attnprobe.hooks",
    "TokenMaps": "attnprobe.hooks",
    "TopK": "attnprobe.hooks",
    "WordMaps": "attnprobe.fields",
    "aggregator": "attnprobe.registry",
    "capture": "attnprobe.hooks.capturing",
    "explore": "attnprobe.view.widget",
    "grouper": "attnprobe.registry",
    "labeller": "attnprobe.registry",
    "load_capture": "attnprobe.hooks",
    "load_recipe": "attnprobe.recipe",
    "plan": "attnprobe.hooks.planning",
    "read_image": "attnprobe.pictures.reading",
    "refiner": "attnprobe.registry",
    "source": "attnprobe.registry",
}

__all__ = [
    "AttentionField",
    "AttentionHooks",
    "AttnProbeError",
    "Entropy",
    "Features",
    "HeadMax",
    "HeadMean",
    "Keep",
    "Layers",
    "ModelSpec",
    "PerHead",
    "Pipeline",
    "Pooled",
    "Probe",
    "Recipe",
    "Recorder",
    "Rows",
    "Sample",
    "Segmentation",
    "TextMaps",
    "TokenMaps",
    "TopK",
    "WordMaps",
    "aggregator",
    "capture",
    "explore",
    "grouper",
    "labeller",
    "load_capture",
    "load_recipe",
    "plan",
    "read_image",
    "refiner",
    "source",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
