"""The recorder of words' maps: where on the image each chosen word is looked at from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, MinLen

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.recorders.base import EVERY_AXIS, Recorder
from attnprobe.registry import checked, did_you_mean

Place = Annotated[int, Ge(0)]

_LETTER = "[0-9A-Za-zÀ-ԯ]"
"""Latin, Greek and Cyrillic, which part words by spaces; Chinese or Thai have no such borders."""

_LONG = 1 << 20
"""A tokenizer with no limit says an astronomical one."""


@checked
@dataclass(frozen=True)
class TokenMaps(Recorder):
    """Maps of chosen words, by head mean: (batch, image queries, words) float32.

    A word's value at a query is the probability of attending to any of its tokens: the sum over
    them (their union, for a query spreads one unit over all keys). In joint attention the image's
    queries and the text's keys are taken. Of keys that are a reference picture's (an image
    adapter's call) nothing is kept.

    Args:
        tokens: word -> the places of its tokens in the text; `TokenMaps.of` finds them.
    """

    tokens: Annotated[dict[str, Annotated[tuple[Place, ...], MinLen(1)]], MinLen(1)]

    linear = EVERY_AXIS
    probabilities = True

    @classmethod
    def of(cls, tokenizer: Any, prompt: str, words: list[str] | tuple[str, ...]) -> TokenMaps:
        """Find the words' tokens in a prompt; each word's first occurrence counts.

        Places are counted in what the tokenizer makes of the prompt alone, without padding.

        Raises:
            CaptureError: a word does not occur in the prompt, or in a part that is cut off, or
                what is given is no tokenizer, prompt or list of words.
        """
        _check_given(tokenizer, prompt, words)
        return cls({word: token_places(tokenizer, prompt, word) for word in words})

    def record(self, call: AttentionCall) -> torch.Tensor | None:
        batch, _, _, keys = call.shape
        roles = {role for item in range(batch) for role, _ in call.keys.roles(item)}
        if roles == {"reference"}:
            return None
        if roles and "text" not in roles:
            raise CaptureError(
                f"TokenMaps: the keys of {call.name} hold no text; choose layers of kind cross or "
                "joint"
            )
        columns = torch.zeros(batch, keys, len(self.tokens), device=call.q.device)
        for item in range(batch):
            text = call.text_keys(item)
            for number, (word, places) in enumerate(self.tokens.items()):
                if max(places) >= text.stop - text.start:
                    raise CaptureError(
                        f"TokenMaps: {word!r} is at place {max(places)}, but {call.name} has "
                        f"{text.stop - text.start} text tokens"
                    )
                columns[item, [text.start + place for place in places], number] = 1
        maps = torch.cat([probs.mean(1) @ columns for _, probs in call.chunks()], 1)
        return torch.stack([maps[item, call.image_queries(item)] for item in range(batch)])


def _check_given(tokenizer: Any, prompt: Any, words: Any) -> None:
    """Refuse what looks like a tokenizer, a prompt or words and is none."""
    if not callable(getattr(tokenizer, "tokenize", None)):
        inner = getattr(tokenizer, "pipe", tokenizer)
        has = "pipe.tokenizer" if hasattr(inner, "tokenizer") else "a pipeline's tokenizer"
        raise CaptureError(
            f"TokenMaps.of wants a tokenizer, such as {has}. Got {type(tokenizer).__name__}."
        )
    if not isinstance(prompt, str):
        raise CaptureError(f"TokenMaps.of wants one prompt, a text. Got {prompt!r} instead.")
    if isinstance(words, str):
        raise CaptureError(
            f"TokenMaps.of wants a list of words, such as [{words!r}]. Got {words!r}."
        )
    if (
        not isinstance(words, list | tuple)
        or not words
        or not all(isinstance(w, str) for w in words)
    ):
        raise CaptureError(f"TokenMaps.of wants a list of words. Got {words!r} instead.")


def find_word(prompt: str, word: str) -> re.Match[str] | None:
    """Where a whole word (or several in a row) first stands in a prompt, capitals apart."""
    pattern = rf"(?<!{_LETTER}){re.escape(word)}(?!{_LETTER})"
    return re.search(pattern, prompt, re.IGNORECASE) if word.strip() else None


def token_places(tokenizer: Any, prompt: str, word: str) -> tuple[int, ...]:
    """The places of the tokens of a word (or of several words in a row) in a prompt.

    Whole words are looked for, capitals apart: ``cat`` is not in ``tomcat``.

    Raises:
        CaptureError: the word does not occur in the prompt, or in a part that is cut off, or the
            tokenizer can't tell where its tokens lie.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise CaptureError(
            f"{type(tokenizer).__name__} doesn't tell where its tokens lie in a prompt (only fast "
            "tokenizers do); give their places: TokenMaps({'cat': (2,)})"
        )
    found = find_word(prompt, word)
    if found is None:
        if not prompt.strip():
            raise CaptureError(f"the prompt is empty, so it has no word {word!r}")
        raise CaptureError(f"the prompt has no word {word!r}{did_you_mean(word, prompt.split())}")
    limit = tokenizer.model_max_length
    limited = {"truncation": True, "max_length": limit} if limit < _LONG else {}
    spans = tokenizer(prompt, return_offsets_mapping=True, **limited).offset_mapping
    first, last = found.span()
    places = [
        place
        for place, (start, stop) in enumerate(spans)
        if max(start, first) < min(stop, last)  # special tokens lie nowhere: start = stop
    ]
    if not places or spans[places[-1]][1] < last:
        raise CaptureError(
            f"the word {word!r} is cut off: of the prompt the tokenizer takes {limit} tokens"
        )
    return tuple(places)
