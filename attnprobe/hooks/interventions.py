"""Interventions with names: heads ablated, words scaled, maps patched in from another pass."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any

import torch

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.handle import Handle, Steps
from attnprobe.hooks.layers import Layer, Layers, layers_of_text
from attnprobe.hooks.patching import Patch
from attnprobe.hooks.recorders import TokenMaps
from attnprobe.hooks.rows import Item, rows_of_one_text
from attnprobe.hooks.token_match import TokenMatch

Heads = int | Collection[int]


class Interventions(ABC):
    """What `AttentionHooks` can do to attention by name; each is an edit, and `remove` undoes it.

    They come one after the other as they were registered.
    """

    layers: list[Layer]

    @abstractmethod
    def register(self, handle: Handle) -> Handle:
        """Take a handle in."""

    def ablate(
        self, heads: Heads, layers: Layers | None = None, steps: Steps | None = None
    ) -> Handle:
        """Take heads out: their output is zero, as if their columns of the projection were.

        Args:
            heads: which, in each of the layers.
            layers: of which layers; all by default.
            steps: at which steps.

        Raises:
            CaptureError: heads aren't numbers of heads.

        Examples:
            >>> hooks = ap.AttentionHooks(pipe.unet)
            >>> handle = hooks.ablate(heads=0, layers=ap.Layers(kind="self", block="mid"))
            >>> with hooks:
            ...     picture = pipe("a red disc", num_inference_steps=1).images[0]
        """
        if heads is None:
            raise CaptureError(
                "ablate: which heads is not said; give their numbers, such as heads=0 or range(8)"
            )
        edit = Handle.of_edit(self.layers, _zero, layers, steps, "out", _each(heads))
        return self.register(edit)

    def scale(
        self,
        words: TokenMaps,
        factor: float,
        layers: Layers | None = None,
        steps: Steps | None = None,
        heads: Heads | None = None,
        item: Item = None,
    ) -> Handle:
        """Look at words more, or less: the image's probabilities of their tokens times a factor.

        Attention re-weighting of prompt-to-prompt (Hertz et al., 2022, section 3): M[i, j]·c for
        the words' tokens j. Rows aren't divided by their sum again, as there.

        Args:
            words: whose tokens, such as ``TokenMaps.of(pipe, prompt, "star")``.
            factor: above 1 strengthens, below weakens; the authors have −2 to 2.
            layers: those that look at text, by default.
            steps: at which steps.
            heads: which; all by default.
            item: the prompt's branch by default, ``"uncond"``, or a row's number.

        Raises:
            CaptureError: a word alone is given, or a factor that is no number; in a pass, which
                row is the prompt's isn't known.

        Examples:
            >>> prompt = "a red disc and a blue star"
            >>> hooks = ap.AttentionHooks(pipe.unet)
            >>> handle = hooks.scale(ap.TokenMaps.of(pipe, prompt, "star"), 1.6)
            >>> with hooks:
            ...     picture = pipe(prompt, num_inference_steps=1).images[0]
        """
        if not isinstance(words, TokenMaps):
            raise CaptureError(
                f"scale: which tokens are {words!r} isn't known without the prompt; give "
                "TokenMaps.of(pipe, prompt, word)"
            )
        number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not number or not math.isfinite(factor):
            raise CaptureError(f"scale: the factor must be a number. Got {factor!r} instead.")
        places = sorted({place for each in words.tokens.values() for place in each})

        def rows(call: AttentionCall) -> list[int]:
            return rows_of_one_text(call, item, "scale")

        def scaled(probs: torch.Tensor, call: AttentionCall) -> torch.Tensor:
            for row in rows(call):
                text = call.text_keys(row)
                if places[-1] >= text.stop - text.start:
                    raise CaptureError(
                        f"scale: a word is at place {places[-1]}, but {call.name} has "
                        f"{text.stop - text.start} text tokens"
                    )
                columns = [text.start + place for place in places]
                probs[row, :, call.image_queries(row), columns] *= factor
            return probs

        chosen = layers_of_text(self.layers) if layers is None else layers
        edit = Handle.of_edit(self.layers, scaled, chosen, steps, "probs", _each(heads), rows)
        return self.register(edit)

    def patch(
        self,
        capture: Any,
        tokens: TokenMatch | None = None,
        layers: Layers | None = None,
        steps: Steps | None = None,
        item: Item = None,
    ) -> Handle:
        """Put maps of another pass in the place of this one's, step by step.

        Prompt-to-prompt (Hertz et al., 2022): with ``TokenMatch.replacement`` words are swapped,
        with ``TokenMatch.refinement`` others are added; of self-attention, and of prompts that
        differ in words of as many tokens, whole maps are taken. ``steps=range(n)`` is the authors'
        threshold τ: from step n on the pass has maps of its own.

        Args:
            capture: of the other pass, by ``capture(…, keep=ap.PerHead(), over_steps="each")``.
            tokens: which tokens' maps are whose; by default whole maps are taken.
            layers: those that were captured, by default.
            steps: at which steps; all that were captured, by default.
            item: the prompt's branch by default, in the capture as here; or a row's number here.

        Raises:
            CaptureError: the capture keeps no maps of each head and step, or not of what is
                chosen; in a pass, maps differ in size or timestep, or which row is the prompt's
                isn't known.

        Examples:
            >>> before, after = "a red disc on a blue ground", "a red star on a blue ground"
            >>> layers, keep = ap.Layers(kind="cross"), ap.PerHead()
            >>> with ap.capture(pipe.unet, layers, keep, over_steps="each") as seen:
            ...     picture = pipe(before, num_inference_steps=2).images[0]
            >>> hooks = ap.AttentionHooks(pipe.unet)
            >>> handle = hooks.patch(seen, ap.hooks.TokenMatch.replacement(pipe, before, after))
            >>> with hooks:
            ...     picture = pipe(after, num_inference_steps=2).images[0]
        """
        patch = Patch.of(capture, tokens, item)
        chosen = patch.layers(self.layers, layers)
        at, heads = patch.steps(steps), patch.heads
        edit = Handle.of_edit(self.layers, patch, chosen, at, "probs", heads, patch.rows)
        return self.register(edit)


def _each(heads: Heads | None) -> Collection[int] | None:
    whole = isinstance(heads, int) and not isinstance(heads, bool)
    return (heads,) if whole else heads  # type: ignore[return-value]


def _zero(out: torch.Tensor, call: AttentionCall) -> torch.Tensor:
    return torch.zeros_like(out)
