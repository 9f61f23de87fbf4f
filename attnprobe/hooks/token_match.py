"""Which tokens of one prompt give their maps to which of another: prompt-to-prompt's two ways."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch

from attnprobe.errors import CaptureError
from attnprobe.hooks.recorders.places import ReadPrompt
from attnprobe.hooks.recorders.reading import reading_of

Sources = dict[int, dict[int, float]]
"""A token's place in the new text -> places in the old one, and how much of each map it takes."""


@dataclass(frozen=True)
class TokenMatch:
    """Which tokens of a captured prompt give their maps to which of a new one.

    Prompt-to-prompt (Hertz et al., 2022, section 3): the maps of the new prompt's token j are
    Σᵢ M[i]·w(i, j) of the captured maps M, or its own where nothing is said of it.

    Args:
        sources: place in the new text -> places in the captured one with their weights.
        padding: the first place after the new prompt; what stands there takes the map at the same
            place.

    Examples:
        >>> before, after = "a red disc on a blue ground", "a red star on a blue ground"
        >>> match = ap.hooks.TokenMatch.replacement(pipe.tokenizer, before, after)
        >>> match.sources[3]  # of the star the disc's
        {3: 1.0}
    """

    sources: Sources
    padding: int

    @classmethod
    def replacement(cls, tokenizer: Any, before: str, after: str) -> TokenMatch:
        """Words that are replaced by others, one for one: each takes the map of the other.

        A word of other tokens than before takes the sum of the former's maps, each of its tokens
        an equal part. All other tokens keep their partners' maps.

        Args:
            tokenizer: a pipeline's, or the pipeline itself.
            before: the captured prompt.
            after: the new one, of as many words.

        Raises:
            CaptureError: the prompts differ in their number of words, or are cut off.
        """
        old, new = ([*re.finditer(r"\S+", prompt)] for prompt in (before, after))
        if len(old) != len(new):
            raise CaptureError(
                f"TokenMatch.replacement: the prompts must have as many words; these have "
                f"{len(old)} and {len(new)}. Where words are added or left out, refinement is meant"
            )
        read = [_read(tokenizer, prompt) for prompt in (before, after)]
        pairs = [
            (_word(read[0], a), _word(read[1], b))
            for a, b in zip(old, new, strict=True)
            if a[0] != b[0]
        ]
        sources: Sources = {}
        for gone, come in pairs:
            if len(gone) == len(come):
                sources |= {j: {i: 1.0} for i, j in zip(gone, come, strict=True)}
            else:
                sources |= {j: dict.fromkeys(gone, 1 / len(come)) for j in come}
        stay = [
            [place for place in range(len(each.ids)) if not any(place in w[side] for w in pairs)]
            for side, each in enumerate(read)
        ]
        one, other = ([r.ids[i] for i in places] for r, places in zip(read, stay, strict=True))
        if one != other:
            raise CaptureError(
                "TokenMatch.replacement: words that stay are other tokens beside the new ones, so "
                "which is whose isn't known"
            )
        sources |= {j: {i: 1.0} for i, j in zip(*stay, strict=True)}
        return cls(dict(sorted(sources.items())), len(read[1].ids))

    @classmethod
    def refinement(cls, tokenizer: Any, before: str, after: str) -> TokenMatch:
        """Words that are added or left out: tokens that both prompts have keep their maps.

        They are paired in order, as many as can be; where there are several ways it is that of
        the authors' program. New tokens have maps of their own.

        Args:
            tokenizer: a pipeline's, or the pipeline itself.
            before: the captured prompt.
            after: the new one.
        """
        old, new = (_read(tokenizer, prompt).ids for prompt in (before, after))
        return cls({j: {i: 1.0} for j, i in _common(old, new).items()}, len(new))

    def matrix(self, before: int, after: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights w (before, after), and which tokens (after,) keep maps of their own.

        Args:
            before: tokens of the captured text with its padding, `after` of the new one.

        Raises:
            CaptureError: a place is beyond the text.
        """
        far = max(max(each) for each in self.sources.values())
        if far >= before or max(self.sources) >= after:
            raise CaptureError(
                f"TokenMatch: it speaks of places up to {far} and {max(self.sources)}, but the "
                f"texts have {before} and {after} tokens"
            )
        weights, own = torch.zeros(before, after), torch.ones(after, dtype=torch.bool)
        for j, each in self.sources.items():
            own[j] = False
            for i, weight in each.items():
                weights[i, j] = weight
        for place in range(self.padding, min(before, after)):
            own[place] = False
            weights[place, place] = 1
        return weights, own


def _read(tokenizer: Any, prompt: str) -> ReadPrompt:
    read = reading_of(tokenizer, prompt, "TokenMatch")
    if read.spans != read.whole:
        raise CaptureError(
            f"TokenMatch: the prompt is cut off after {read.limit} tokens, so that not all of its "
            "words have maps"
        )
    return read


def _word(read: ReadPrompt, found: re.Match[str]) -> tuple[int, ...]:
    return read.places(range(*found.span()), f"the word {found[0]!r}")


def _common(old: tuple[int, ...], new: tuple[int, ...]) -> dict[int, int]:
    """Places in `new` -> places in `old` of their longest common subsequence.

    Needleman and Wunsch's alignment with the authors' scores: 1 for equal tokens, 0 for a gap.
    """
    best = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i, a in enumerate(old):
        for j, b in enumerate(new):
            met = best[i][j] + 1 if a == b else 0
            best[i + 1][j + 1] = max(best[i + 1][j], best[i][j + 1], met)
    pairs, i, j = {}, len(old), len(new)
    while i and j:
        if best[i][j] == best[i][j - 1]:
            j -= 1
        elif best[i][j] == best[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            pairs[j] = i
    return dict(sorted(pairs.items()))
