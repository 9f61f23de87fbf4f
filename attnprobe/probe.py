"""The probe: one image through a model, and the attention it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Le, MinLen

from attnprobe.fields import AttentionField
from attnprobe.hooks import Layers, capture
from attnprobe.models.fit import Fit, View, fit_view, to_pixels
from attnprobe.registry import checked

if TYPE_CHECKING:
    from PIL.Image import Image

    from attnprobe.data.base import Drawing
    from attnprobe.models.model import Model

Timestep = Annotated[int, Ge(0), Le(999)]


@checked
@dataclass(frozen=True)
class Probe:
    """How an image is shown to the model and which layers are watched (DiffSeg's by default).

    Args:
        size: side in pixels; ``fit`` says of what. The model's own by default.
        fit: ``resize``: the whole image at about size² pixels, aspect kept; ``crop``: the centre
            square at size × size.
        timesteps: told to the denoiser, one pass each; the maps are averaged.
        noise: add the scheduler's noise of that timestep to the latent; DiffSeg adds none.
        prompt: text condition.
        layers: which attention layers; self-attention by default.
    """

    size: Annotated[int, Ge(8), Le(8192)] | None = None
    fit: Fit = "resize"
    timesteps: Annotated[tuple[Timestep, ...], MinLen(1)] = (300,)
    noise: bool = False
    prompt: str = ""
    layers: Layers = field(default_factory=lambda: Layers(kind="self"))

    def view(self, model: Model, image: Image) -> View:
        """The part of the image that the model sees, and at which size."""
        size = (image.height, image.width)
        return fit_view(size, self.size or model.size, self.fit, model.multiple)

    def __call__(self, model: Model, image: Image, seed: int = 0) -> list[AttentionField]:
        """One field a layer, the mean over its heads and over the timesteps."""
        latents = model.encode(to_pixels(image, self.view(model, image), self.fit))
        with capture(model.denoiser, self.layers) as captured:
            for timestep in self.timesteps:
                shown = model.add_noise(latents, timestep, seed) if self.noise else latents
                model.denoise(shown, timestep, self.prompt)
        return captured.fields()

    def draw(self, model: Model, drawing: Drawing) -> tuple[Image, list[AttentionField]]:
        """A picture that the model draws, and one field a layer, the mean over heads and steps."""
        with capture(model.denoiser, self.layers) as captured:
            picture = model.draw(drawing.prompt, drawing.steps, drawing.guidance, drawing.seed)
        rows = captured.records.branches
        return picture, captured.fields(rows.index("cond") if "cond" in rows else 0)
