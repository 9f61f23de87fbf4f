"""Models: a preset or any diffusers pipeline, and one image's pass through it."""

from attnprobe.models.fit import View, fit_view, to_pixels
from attnprobe.models.model import Model
from attnprobe.models.presets import PRESETS, Preset
from attnprobe.models.spec import ModelSpec

__all__ = ["PRESETS", "Model", "ModelSpec", "Preset", "View", "fit_view", "to_pixels"]
