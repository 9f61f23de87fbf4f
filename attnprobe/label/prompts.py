"""Names from a list: of a recipe's own, or of the dataset's classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import MinLen
from pydantic import AfterValidator

from attnprobe.errors import ComponentError
from attnprobe.fields import Segmentation, WordMaps
from attnprobe.hooks.words import Words
from attnprobe.label.naming import Least, Normalise, Rule, name_segments, renamed
from attnprobe.label.subject import Subject
from attnprobe.lazy import torch
from attnprobe.registry import labeller


def _with_a_place(template: str) -> str:
    if template.count("{}") != 1:
        raise ValueError("must have {} once, where the name goes")
    return template


Template = Annotated[str, AfterValidator(_with_a_place)]
Text = Annotated[str, MinLen(1)]


@labeller("prompts")
@dataclass(frozen=True)
class PromptLabels:
    """Each segment is called by the one of some names that its places look at most.

    The names are put to the model as text, all in one pass or each in a pass of its own, and their
    maps go the way of `cross-attention`. Where passes are apart a word has no rivals in its
    softmax but the start and the padding; which of the two is better is the model's own matter.

    Args:
        names: what segments may be called; the dataset's classes by default.
        synonyms: words that are put to the model in a name's place, each name's largest at every
            place.
        template: what a name, or in one pass the list of them, is put into.
        passes: ``shared``: all names in one text, parted by commas; ``each``: a text a name.
        background: what segments are called that no name stands out of; nothing by default.
        normalise: see `cross-attention`.
        rule: see `cross-attention`.
        least: see `cross-attention`.
    """

    names: Words = ()
    synonyms: dict[Text, Annotated[tuple[Text, ...], MinLen(1)]] = field(default_factory=dict)
    template: Template = "a photo of {}"
    passes: Literal["shared", "each"] = "shared"
    background: Text | None = None
    normalise: Normalise = "length"
    rule: Rule = "mean"
    least: Least = 1.0

    needs: ClassVar[frozenset[str]] = frozenset({"words"})

    def __call__(
        self, segmentation: Segmentation, subject: Subject, *, rng: np.random.Generator
    ) -> Segmentation:
        """The segments with names, at their own size."""
        names = self.names or tuple(dict.fromkeys(subject.classes))
        if not names:
            raise ComponentError(
                "label.names: the dataset has no classes to take names from; give names, such as "
                "[cat, sofa]"
            )
        unknown = [name for name in self.synonyms if name not in names]
        if unknown:
            raise ComponentError(
                f"label.synonyms: {', '.join(unknown)} is none of the names; allowed: "
                f"{', '.join(names)}"
            )
        maps = self._maps(subject, names)
        options = self.normalise, self.rule, self.least
        named = name_segments(segmentation, maps, *options)
        return named if self.background is None else with_background(named, self.background)

    def _maps(self, subject: Subject, names: tuple[str, ...]) -> WordMaps:
        """A map a name: the largest of its words'."""
        words = {name: self.synonyms.get(name, (name,)) for name in names}
        asked = [dict.fromkeys(word for each in words.values() for word in each)]
        if self.passes == "each":
            asked = [{word: None} for word in asked[0]]
        else:
            _refuse_parts(tuple(asked[0]))
        found: dict[str, torch.Tensor] = {}
        for each in asked:
            text = self.template.format(", ".join(each))
            maps = subject.word_maps(text, tuple(each))
            found |= dict(zip(maps.words, maps.maps, strict=True))
        largest = [torch.stack([found[word] for word in words[name]]).amax(0) for name in names]
        return WordMaps(torch.stack(largest), names, origin="prompts")


def with_background(segmentation: Segmentation, name: str) -> Segmentation:
    """The segmentation with all segments that have no name as one of that name."""
    present = np.unique(segmentation.labels)
    names = segmentation.names or {}
    return renamed(segmentation, present, [names.get(int(number), name) for number in present])


def _refuse_parts(words: tuple[str, ...]) -> None:
    """Refuse words of one text of which one has another in it: its place would be the other's.

    Raises:
        ComponentError: with the two.
    """
    for whole, part in _parts(words):
        raise ComponentError(
            f"label.names: {part!r} is a word of {whole!r} too, so that in one text its place "
            "isn't known; give passes: each"
        )


def _parts(words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    from attnprobe.hooks.recorders.places import find_word

    return ((whole, part) for whole, part in permutations(words, 2) if find_word(whole, part))
