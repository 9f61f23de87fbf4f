"""Where a word's tokens lie in the text that a pipeline hands to its text encoder."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Any

from attnprobe.errors import CaptureError, did_you_mean

_LETTER = "[0-9A-Za-zÀ-ԯ]"
"""Latin, Greek and Cyrillic, which part words by spaces; Chinese or Thai have no such borders."""


def find_word(prompt: str, word: str) -> re.Match[str] | None:
    """Where a whole word (or several in a row) first stands in a prompt, capitals apart."""
    pattern = rf"(?<!{_LETTER}){re.escape(word)}(?!{_LETTER})"
    return re.search(pattern, prompt, re.IGNORECASE) if word.strip() else None


def require_word(prompt: str, word: str) -> re.Match[str]:
    """Where a whole word first stands in a prompt; see `find_word`.

    Raises:
        CaptureError: the prompt doesn't have it.
    """
    found = find_word(prompt, word)
    if found is not None:
        return found
    if not prompt.strip():
        raise CaptureError(f"the prompt is empty, so it has no word {word!r}")
    raise CaptureError(f"the prompt has no word {word!r}{did_you_mean(word, prompt.split())}")


def token_places(tokenizer: Any, prompt: str, word: str) -> tuple[int, ...]:
    """The places of the tokens of a word (or of several words in a row) in a prompt.

    Whole words are looked for, capitals apart: ``cat`` is not in ``tomcat``.

    Raises:
        CaptureError: the word does not occur in the prompt, or in a part that is cut off, or the
            tokenizer can't tell where its tokens lie.
    """
    found = require_word(prompt, word)
    return read_prompt(tokenizer, prompt).places(range(*found.span()), f"the word {word!r}")


@dataclass(frozen=True)
class ReadPrompt:
    """A prompt as a tokenizer reads it.

    Args:
        ids: numbers of its tokens, special ones among them, without padding.
        spans: where each token lies in the text that is tokenized; special ones lie nowhere.
        whole: the same if nothing were cut off.
        origins: where in the prompt each character of that text comes from.
        limit: how many tokens the tokenizer takes.
    """

    ids: tuple[int, ...]
    spans: list[tuple[int, int]]
    whole: list[tuple[int, int]]
    origins: list[int]
    limit: int

    def places(self, characters: range, what: str) -> tuple[int, ...]:
        """The places of the tokens that some characters of the prompt are in.

        Raises:
            CaptureError: they are cut off or in no token; `what` they are is said.
        """
        wanted = {place for place, origin in enumerate(self.origins) if origin in characters}
        there, read = (
            [place for place, span in enumerate(spans) if not wanted.isdisjoint(range(*span))]
            for spans in (self.whole, self.spans)
        )
        if not there:
            raise CaptureError(f"the tokenizer makes no token of {what}")
        if read != there:
            raise CaptureError(
                f"{what} is cut off: of the prompt the tokenizer takes {self.limit} tokens"
            )
        return tuple(read)


def read_prompt(tokenizer: Any, prompt: str) -> ReadPrompt:
    """The prompt's tokens and where in it they come from, as a pipeline has them made.

    Raises:
        CaptureError: the tokenizer can't tell where its tokens lie.
    """
    _check_tokenizer(tokenizer)
    text, origins = _converted(tokenizer, prompt)
    limit = tokenizer.model_max_length
    whole = tokenizer(text, return_offsets_mapping=True, verbose=False)
    read = whole
    if len(whole.input_ids) > limit:
        cut = {"truncation": True, "max_length": limit}
        read = tokenizer(text, return_offsets_mapping=True, **cut)
    spans, all_spans = (token_spans(tokenizer, each) for each in (read, whole))
    return ReadPrompt(tuple(read.input_ids), spans, all_spans, origins, limit)


def token_spans(tokenizer: Any, read: Any) -> list[tuple[int, int]]:
    """Where each token of a tokenized text lies in it; nowhere, start = stop, special ones.

    A sign for a space that T5's kind puts before the text is told to lie on its first letter, which
    it is not made of.
    """
    pieces = tokenizer.convert_ids_to_tokens(read["input_ids"])
    spans = zip(pieces, read["offset_mapping"], strict=True)
    return [(start, start) if piece == "▁" else (start, stop) for piece, (start, stop) in spans]


def _check_tokenizer(tokenizer: Any) -> None:
    """Refuse a tokenizer whose places in a prompt are not those in the text that a model is given.

    Raises:
        CaptureError: with the reason.
    """
    name, give = type(tokenizer).__name__, "give their places: TokenMaps({'cat': (2,)})"
    if not getattr(tokenizer, "is_fast", False):
        raise CaptureError(
            f"{name} doesn't tell where its tokens lie in a prompt (only fast tokenizers do); "
            f"{give}"
        )
    if getattr(tokenizer, "padding_side", "right") == "left":
        raise CaptureError(
            f"{name} puts padding before the prompt, so that where its tokens lie depends on how "
            f"much; {give}"
        )
    if getattr(tokenizer, "chat_template", None):
        raise CaptureError(
            f"{name} is a chat model's, and pipelines put instructions around the prompt, so that "
            f"where its tokens lie isn't known from the prompt alone; {give}"
        )


def _converted(tokenizer: Any, prompt: str) -> tuple[str, list[int]]:
    """A prompt as pipelines hand it to the tokenizer, and where in it each character comes from.

    A textual inversion of several vectors is one token in the prompt and several in the text:
    diffusers writes ``<x> <x>_1 <x>_2`` for ``<x>`` (`TextualInversionLoaderMixin`).

    Raises:
        CaptureError: what it writes depends on the order in which it takes such tokens.
    """
    added = getattr(tokenizer, "added_tokens_encoder", {})
    several = sorted({token for token in tokenizer.tokenize(prompt) if f"{token}_1" in added})
    found = [_with_vectors(prompt, tokens, added) for tokens in (several, several[::-1])]
    if found[0] != found[1]:
        raise CaptureError(
            f"of the prompt's tokens {', '.join(several)} one is part of another, so what is made "
            "of them isn't known; give their places: TokenMaps({'cat': (2,)})"
        )
    return found[0]


def _with_vectors(prompt: str, tokens: list[str], added: dict[str, int]) -> tuple[str, list[int]]:
    """The prompt with each token followed by those of its other vectors."""
    text, origins = prompt, [*range(len(prompt))]
    for token in tokens:
        count = next(n for n in itertools.count(1) if f"{token}_{n}" not in added)
        more = "".join(f" {token}_{n}" for n in range(1, count))
        start = text.find(token)
        while start >= 0:
            stop = start + len(token)
            text = text[:stop] + more + text[stop:]
            origins[stop:stop] = [origins[start]] * len(more)
            start = text.find(token, stop + len(more))
    return text, origins
