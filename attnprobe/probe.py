"""The probe: one image through a model, and the attention it leaves behind."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Le, MinLen

from attnprobe.errors import ComponentError
from attnprobe.fields import AnyField, AttentionField
from attnprobe.hooks import Capture, Features, Layers, TokenMaps, capture
from attnprobe.hooks.recorders.places import find_word
from attnprobe.models.fit import Fit, View, fit_view, to_pixels
from attnprobe.registry import checked

if TYPE_CHECKING:
    from PIL.Image import Image

    from attnprobe.data.base import Drawing
    from attnprobe.models.model import Model

Timestep = Annotated[int, Ge(0), Le(999)]

Need = Literal["maps", "words", "features"]
"""What an aggregator may ask for: self-attention maps, words' maps, outputs beside the maps."""

MAPS: frozenset[Need] = frozenset({"maps"})
"""What one that doesn't say needs."""

NO_PROMPT = (
    "probe.prompt is empty, but the aggregator needs the maps of its words; give a prompt that "
    "says what the pictures show, such as 'a cat on a sofa'"
)
"""What is wrong with pictures that are read, not drawn, and words of no prompt."""


@checked
@dataclass(frozen=True)
class Probe:
    """How an image is shown to the model and which layers are watched (DiffSeg's by default).

    Args:
        size: side in pixels; ``fit`` says of what. The model's own by default.
        fit: ``resize``: the whole image at about size² pixels, aspect kept; ``crop``: the centre
            square at size × size.
        timesteps: told to the denoiser, one pass each; the maps are averaged.
        noise: add noise to the latent, as much as in the model's training at that timestep;
            DiffSeg adds none.
        draws: of the noise, a pass each; the maps are averaged.
        prompt: text condition.
        layers: which attention layers; self-attention by default.
        words: of the prompt, whose maps are captured where the aggregator needs words; all of
            them by default. What the prompt of a drawing doesn't have is passed over.
        word_layers: which layers are watched for words; cross-attention by default.
    """

    size: Annotated[int, Ge(8), Le(8192)] | None = None
    fit: Fit = "resize"
    timesteps: Annotated[tuple[Timestep, ...], MinLen(1)] = (300,)
    noise: bool = False
    draws: Annotated[int, Ge(1), Le(1000)] = 1
    prompt: str = ""
    layers: Layers = field(default_factory=lambda: Layers(kind="self"))
    words: tuple[Annotated[str, MinLen(1)], ...] = ()
    word_layers: Layers = field(default_factory=lambda: Layers(kind="cross"))

    def __post_init__(self) -> None:
        if self.draws > 1 and not self.noise:
            raise ComponentError(
                f"Probe.draws: without noise all passes are equal; give noise: true, or 1 draw. "
                f"Got {self.draws} instead."
            )

    def view(self, model: Model, image: Image) -> View:
        """The part of the image that the model sees, and at which size."""
        size = (image.height, image.width)
        return fit_view(size, self.size or model.size, self.fit, model.multiple)

    def __call__(
        self, model: Model, image: Image, seed: int = 0, needs: Collection[Need] = MAPS
    ) -> list[AnyField]:
        """What the aggregator needs, one value a layer, the mean over heads and timesteps."""
        latents = model.encode(to_pixels(image, self.view(model, image), self.fit))
        with self._watched(model, needs, self.prompt, self.words) as captures:
            for timestep, draw in product(self.timesteps, range(self.draws)):
                for each in captures.values():  # averaged, though the timestep be the same
                    each.new_step()
                shown = model.add_noise(latents, timestep, seed + draw) if self.noise else latents
                model.denoise(shown, timestep, self.prompt)
        return _values(captures)

    def draw(
        self, model: Model, drawing: Drawing, needs: Collection[Need] = MAPS
    ) -> tuple[Image, list[AnyField]]:
        """A picture that the model draws, and what the aggregator needs, means over the steps."""
        words = tuple(word for word in self.words if find_word(drawing.prompt, word))
        if self.words and not words:
            raise ComponentError(
                f"probe.words: none of {', '.join(self.words)} is in the prompt {drawing.prompt!r}"
            )
        with self._watched(model, needs, drawing.prompt, words) as captures:
            picture = model.draw(drawing.prompt, drawing.steps, drawing.guidance, drawing.seed)
        return picture, _values(captures)

    @contextmanager
    def _watched(
        self, model: Model, needs: Collection[Need], prompt: str, words: tuple[str, ...]
    ) -> Iterator[dict[Need, Capture]]:
        """A block in which the denoiser is watched for what is needed."""
        captures: dict[Need, Capture] = {}
        if "maps" in needs:
            captures["maps"] = capture(model.denoiser, self.layers)
        if "features" in needs:
            captures["features"] = capture(model.denoiser, self.layers, Features(projected=True))
        if "words" in needs:
            chosen = words or _words(prompt)
            if not _words(prompt):
                raise ComponentError(NO_PROMPT)
            keep = TokenMaps.of(model.pipe.tokenizer, prompt, chosen)
            captures["words"] = capture(model.denoiser, self.word_layers, keep)
        with _open(*captures.values()):
            yield captures


@contextmanager
def _open(*captures: Capture) -> Iterator[None]:
    """All open, each in a ``with`` of its own: an interrupt amid an `ExitStack` would lose one."""
    if not captures:
        yield
        return
    with captures[0], _open(*captures[1:]):
        yield


def _words(prompt: str) -> tuple[str, ...]:
    """The words of a prompt, each once, in order."""
    return tuple(dict.fromkeys(re.findall(r"\w[\w'-]*", prompt)))


def _values(captures: dict[Need, Capture]) -> list[AnyField]:
    """One value a layer, of the prompt's branch where there was guidance."""
    values: list[AnyField] = []
    for need, captured in captures.items():
        if need == "maps":
            values += captured.fields()
        elif need == "words":
            values += captured.words()
        else:
            values = [
                replace(value, features=captured.at(value.origin))
                if isinstance(value, AttentionField)
                else value
                for value in values
            ]
    return values
