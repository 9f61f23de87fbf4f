"""Names from the text that a picture goes with, by cross-attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from attnprobe.errors import ComponentError
from attnprobe.fields import Segmentation
from attnprobe.hooks.words import Words
from attnprobe.label.naming import Least, Normalise, Rule, name_segments
from attnprobe.label.nouns import nouns
from attnprobe.label.subject import Subject
from attnprobe.registry import labeller


@labeller("cross-attention")
@dataclass(frozen=True)
class CrossAttention:
    """Each segment is called by the noun of a text that its places look at most.

    DiffSeg's semantics (Tian et al. 2024, section 3.4): the nouns' maps, means over heads and
    layers, are made comparable, a segment takes the noun with the largest mean over it, and
    segments of one noun become one. A word of several tokens has the mean over all of them.

    Args:
        text: ``prompt``: the recipe's `probe.prompt`, or what a picture is drawn from; ``caption``:
            what the dataset says about each picture.
        words: of the text; its nouns by default, found by a tagger of English. Of a caption those
            that it has.
        normalise: ``length``: each word's map is divided by its length as a vector; ``shares``:
            each place by its sum over the words, then each map brought from 0 to 1 (GoCA, 2025).
        rule: ``mean``: the word of the largest mean over the segment; ``majority``: the word that
            is the largest at most of its pixels.
        least: a word's mean over the segment must be at least so many times its mean over the
            picture, or the segment has no name; 0 names all from which a word is looked at.
    """

    text: Literal["prompt", "caption"] = "prompt"
    words: Words = ()
    normalise: Normalise = "length"
    rule: Rule = "mean"
    least: Least = 1.0

    needs: ClassVar[frozenset[str]] = frozenset({"words"})

    def __call__(
        self, segmentation: Segmentation, subject: Subject, *, rng: np.random.Generator
    ) -> Segmentation:
        """The segments with names, at their own size."""
        text = subject.prompt if self.text == "prompt" else subject.caption
        if not text:
            raise ComponentError(NO_TEXT[self.text])
        maps = subject.word_maps(text, self._words(text))
        return name_segments(segmentation, maps, self.normalise, self.rule, self.least)

    def _words(self, text: str) -> tuple[str, ...]:
        if not self.words:
            return nouns(text)
        if self.text == "prompt":
            return self.words  # one that isn't there is told where its place is looked for
        from attnprobe.hooks.recorders.places import find_word

        found = tuple(word for word in self.words if find_word(text, word))
        if not found:
            raise ComponentError(
                f"label.words: none of {', '.join(self.words)} is in the caption {text!r}"
            )
        return found


NO_TEXT = {
    "prompt": "label.text: prompt names segments by words of probe.prompt, which is empty; say "
    "there what the pictures show, such as 'a cat on a sofa'",
    "caption": "label.text: caption names segments by words of the dataset's captions, and this "
    "picture has none; give probe.prompt and label.text: prompt",
}
"""What is said where there is no such text."""
