"""The probe: one image through a model, and the attention it leaves behind."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen

from attnprobe.errors import ComponentError
from attnprobe.fields import AnyField, AttentionField
from attnprobe.hooks.layers import Layer, Layers
from attnprobe.hooks.words import Words
from attnprobe.models.fit import Fit, ImageFit, fit_image, to_pixels
from attnprobe.registry import checked
from attnprobe.tiles import count_windows, join, windows

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from attnprobe.data.base import Drawing
    from attnprobe.hooks import Capture, TokenMaps
    from attnprobe.models.model import Model

Timestep = Annotated[int, Ge(0), Le(999)]

Side = Annotated[int, Ge(8), Le(8192)]

Need = Literal["maps", "words", "tokens", "features"]
"""What an aggregator may ask for: attention between places, maps of words, maps of every token of
the text, outputs beside the maps."""

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
        size: side in pixels; ``fit`` says of what. The model's own by default. Of several, each is
            looked at, and the aggregator has a field for each layer and size.
        fit: ``resize``: the whole image at about size² pixels, aspect kept; ``crop``: the centre
            square at size × size.
        tiles: how many times closer to look, along each side: the picture so much larger is seen
            through overlapping windows of the size above, whose maps are joined; see
            `attnprobe.tiles.join`. Passes: 10 for 2, 17 for 3; maps: tiles⁴ times as large.
        timesteps: told to the denoiser, one pass each; the maps are averaged.
        noise: add noise to the latent, as much as in the model's training at that timestep;
            DiffSeg adds none.
        draws: of the noise, a pass each; the maps are averaged.
        prompt: text condition.
        layers: which attention layers; self-attention by default.
        words: of the prompt, whose maps are captured where the aggregator needs words; all of
            them by default. What the prompt of a drawing doesn't have is passed over.
        emphasis: factor of the embeddings of `words`, or of all words, for UNets; iSeg has 1.6.
        word_layers: which layers are watched for words and tokens; cross-attention by default.

    Examples:
        >>> ap.Probe(size=64, timesteps=(100, 300)).passes
        2
    """

    size: Side | Annotated[tuple[Side, ...], MinLen(1)] | None = None
    fit: Fit = "resize"
    tiles: Annotated[int, Ge(1), Le(8)] = 1
    timesteps: Annotated[tuple[Timestep, ...], MinLen(1)] = (300,)
    noise: bool = False
    draws: Annotated[int, Ge(1), Le(1000)] = 1
    prompt: str = ""
    layers: Layers = field(default_factory=lambda: Layers(kind="self"))
    words: Words = ()
    emphasis: Annotated[float, Gt(0), Le(1000)] = 1.0
    word_layers: Layers = field(default_factory=lambda: Layers(kind="cross"))

    def __post_init__(self) -> None:
        if self.draws > 1 and not self.noise:
            raise ComponentError(
                f"Probe.draws: without noise all passes are equal; give noise: true, or 1 draw. "
                f"Got {self.draws} instead."
            )

    def sides(self, own: int) -> tuple[int, ...]:
        """The sides in pixels at which a picture is looked at, by a model of its `own` size."""
        if self.size is None:
            return (own,)
        return self.size if isinstance(self.size, tuple) else (self.size,)

    @property
    def passes(self) -> int:
        """Of the denoiser for one picture."""
        views = 1 if self.tiles == 1 else 1 + count_windows(self.tiles)
        return len(self.sides(0)) * views * len(self.timesteps) * self.draws

    def fitted(self, model: Model, image: Image) -> ImageFit:
        """The part of the image that the model sees, and at which size first."""
        return self._fitted(model, image, self.sides(model.size)[0])

    def _fitted(self, model: Model, image: Image, side: int) -> ImageFit:
        return fit_image((image.height, image.width), side, self.fit, model.multiple)

    def __call__(
        self,
        model: Model,
        image: Image,
        seed: int = 0,
        needs: Collection[Need] = MAPS,
        fitted: ImageFit | None = None,
    ) -> list[AnyField]:
        """What the aggregator needs, one value a layer and size, means over heads and timesteps.

        Args:
            model: whose attention is captured.
            image: upright, in mode RGB.
            seed: of the noise.
            needs: what the aggregator needs.
            fitted: what `fitted` says of the image, where that was asked already.
        """
        keep = self._words_kept(model, needs, self.prompt, self.words)
        asked = _Asked(model, seed, needs, keep, self._factors(model))
        sides, found = self.sides(model.size), []
        for number, side in enumerate(sides):
            known = fitted if number == 0 else None
            place = known or self._fitted(model, image, side)
            values = self._tiled(asked, image, place)
            several = len(sides) > 1
            found += [replace(v, origin=f"{v.origin} at {side}") if several else v for v in values]
        return found

    def _tiled(self, asked: _Asked, image: Image, place: ImageFit) -> list[AnyField]:
        """One value a layer, of all that is seen or of its windows joined."""
        whole = self._seen(asked, to_pixels(image, place, self.fit))
        if self.tiles == 1:
            return whole
        larger = (self.tiles * place.size[0], self.tiles * place.size[1])
        pixels = to_pixels(image, replace(place, size=larger), self.fit)
        seen_through = windows(place.size, self.tiles, asked.model.multiple)
        parts = [self._seen(asked, w.of(pixels)) for w in seen_through]
        return [
            join(*each, seen_through) for each in zip(whole, zip(*parts, strict=True), strict=True)
        ]

    def _seen(self, asked: _Asked, pixels: torch.Tensor) -> list[AnyField]:
        """One value a layer, of pixels (1, 3, H, W)."""
        model = asked.model
        latents = model.encode(pixels)
        with self._watched(model, asked.needs, asked.keep) as captures:
            for timestep, draw in product(self.timesteps, range(self.draws)):
                for each in captures.values():  # averaged, though the timestep be the same
                    each.new_step()
                seed = asked.seed + draw
                shown = model.add_noise(latents, timestep, seed) if self.noise else latents
                model.denoise(shown, timestep, self.prompt, asked.factors)
        return _values(captures)

    def _factors(self, model: Model) -> dict[int, float]:
        """The factor of each place of the prompt that isn't taken as it is."""
        if self.emphasis == 1:
            return {}
        words = self.words or words_of(self.prompt)
        if not words:
            raise ComponentError(
                "probe.emphasis: scales the embeddings of the prompt's words, and probe.prompt is "
                f"empty; give a prompt, or emphasis: 1. Got {self.emphasis:g} instead."
            )
        places = model.places(self.prompt, words)
        return {place: self.emphasis for each in places.values() for place in each}

    def draw(
        self, model: Model, drawing: Drawing, needs: Collection[Need] = MAPS
    ) -> tuple[Image, list[AnyField]]:
        """A picture that the model draws, and what the aggregator needs, means over the steps.

        Raises:
            ComponentError: none of the probe's words is in the prompt, or the probe has tiles or an
                emphasis.
        """
        from attnprobe.hooks.recorders.places import find_word

        if self.tiles > 1:
            raise ComponentError(
                f"probe.tiles: what the model itself draws is watched while it does, whole; give "
                f"tiles: 1, or pictures that are read. Got {self.tiles} instead."
            )
        if self.emphasis != 1:
            raise ComponentError(
                "probe.emphasis: the text of what the model itself draws is taken as it is; give "
                f"emphasis: 1, or pictures that are read. Got {self.emphasis:g} instead."
            )
        words = tuple(word for word in self.words if find_word(drawing.prompt, word))
        if self.words and not words:
            raise ComponentError(
                f"probe.words: none of {', '.join(self.words)} is in the prompt {drawing.prompt!r}"
            )
        keep = self._words_kept(model, needs, drawing.prompt, words)
        with self._watched(model, needs, keep) as captures:
            picture = model.draw(drawing.prompt, drawing.steps, drawing.guidance, drawing.seed)
        return picture, _values(captures)

    def check_layers(self, layers: list[Layer], aggregate: Any) -> None:
        """Check that a model has layers for what the aggregator needs.

        Raises:
            CaptureError: it has none of those wanted.
        """
        for chosen in self.layers_for(getattr(aggregate, "needs", MAPS)).values():
            chosen.select(layers)

    def layers_for(self, needs: Collection[Need]) -> dict[str, Layers]:
        """The layers watched for what an aggregator needs, by the probe's key."""
        found = {}
        if {"maps", "features"} & set(needs):
            found["layers"] = self.layers
        if {"words", "tokens"} & set(needs):
            found["word_layers"] = self.word_layers
        return found

    def _words_kept(
        self, model: Model, needs: Collection[Need], prompt: str, words: tuple[str, ...]
    ) -> TokenMaps | None:
        """The recorder of words, if words are needed; where they lie is found once a picture."""
        from attnprobe.hooks import TokenMaps

        if "words" not in needs:
            return None
        if not words_of(prompt):
            raise ComponentError(NO_PROMPT)
        return TokenMaps(model.places(prompt, words or words_of(prompt)))

    @contextmanager
    def _watched(
        self, model: Model, needs: Collection[Need], keep: TokenMaps | None
    ) -> Iterator[dict[Need, Capture]]:
        """A block in which the denoiser is watched for what is needed."""
        from attnprobe.hooks import Features, TextMaps, capture

        captures: dict[Need, Capture] = {}
        if "maps" in needs:
            captures["maps"] = capture(model.denoiser, self.layers)
        if "features" in needs:
            captures["features"] = capture(model.denoiser, self.layers, Features(projected=True))
        if keep is not None:
            captures["words"] = capture(model.denoiser, self.word_layers, keep)
        if "tokens" in needs:
            captures["tokens"] = capture(model.denoiser, self.word_layers, TextMaps())
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


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is the same in all passes over one picture."""

    model: Model
    seed: int
    needs: Collection[Need]
    keep: TokenMaps | None
    factors: dict[int, float]


def words_of(prompt: str) -> tuple[str, ...]:
    """The words of a prompt, each once, in order."""
    return tuple(dict.fromkeys(re.findall(r"\w[\w'-]*", prompt)))


def _values(captures: dict[Need, Capture]) -> list[AnyField]:
    """One value a layer, of the prompt's branch where there was guidance."""
    values: list[AnyField] = []
    for need, captured in captures.items():
        if need == "maps":
            values += captured.fields()
        elif need in ("words", "tokens"):
            values += captured.words()
        else:
            values = [
                replace(value, features=captured.at(value.origin))
                if isinstance(value, AttentionField)
                else value
                for value in values
            ]
    return values
