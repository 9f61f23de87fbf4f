"""Where a prompt's words lie in the text that a denoiser is handed: seen, while a pipeline encodes.

Pipelines write templates and system prompts around a prompt, cut parts off, pad before it, and give
it to several encoders. So a place isn't counted in the prompt. The pipeline is run until it calls
the denoiser; what its tokenizers and encoders got and gave is watched; and a token's place is that
of its embedding in what the denoiser is handed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from attnprobe.errors import CaptureError
from attnprobe.hooks.recorders.places import require_word, token_spans

OTHER_PROMPT = "☃"
"""A prompt that no template has, nor any prompt begins like."""


class _Enough(BaseException):
    """Ends a pipeline's call where it calls the denoiser; no `except Exception` holds it up."""


class _Watched:
    """A tokenizer that notes its calls and is else the one given."""

    def __init__(self, tokenizer: Any, calls: list[tuple[str, dict[str, Any], list[int]]]) -> None:
        self._tokenizer, self._calls = tokenizer, calls

    def __call__(self, text: Any = None, *args: Any, **kwargs: Any) -> Any:
        found = self._tokenizer(text, *args, **kwargs)
        one = text[0] if isinstance(text, list) and len(text) == 1 else text
        if isinstance(one, str) and not args:
            ids = torch.as_tensor(found["input_ids"]).flatten().tolist()
            self._calls.append((one, kwargs, ids))
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


@dataclass
class _Encoder:
    """What one text encoder got, and the states it gave, each (L, d)."""

    tokenizer: Any
    calls: list[tuple[str, dict[str, Any], list[int]]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    states: list[torch.Tensor] = field(default_factory=list)

    def tokenized(self) -> tuple[str, list[tuple[int, int]]]:
        """The text that was tokenized for it, and where in that each of its tokens lies.

        Raises:
            CaptureError: that wasn't seen.
        """
        if not getattr(self.tokenizer, "is_fast", False):
            raise CaptureError(
                f"{type(self.tokenizer).__name__} doesn't tell where its tokens lie in a text "
                "(only fast tokenizers do)"
            )
        for text, kwargs, ids in self.calls:
            starts = [
                start
                for start in range(len(self.ids) - len(ids) + 1)
                if self.ids[start : start + len(ids)] == ids
            ]
            options = {k: v for k, v in kwargs.items() if not k.startswith("return_")}
            again = self.tokenizer(text, return_offsets_mapping=True, **options)
            if len(starts) == 1 and again["input_ids"] == ids:
                return text, [(0, 0)] * starts[0] + token_spans(self.tokenizer, again)
        raise CaptureError(
            "what was made of the prompt wasn't seen, so that where a word's tokens lie isn't known"
        )


def word_places(
    pipe: Any, one_pass: Callable[[Any, str], Any], prompt: str, words: tuple[str, ...]
) -> dict[str, tuple[int, ...]]:
    """The places of words' tokens in the text that the denoiser is handed.

    Of several encoders whose tokens are in it, the first counts: CLIP's for Stable Diffusion 3.

    Args:
        pipe: the pipeline; it is left as it was.
        one_pass: calls a pipeline's copy with a prompt.
        prompt: the text condition.
        words: each a word of it, or several in a row; the first occurrence counts.

    Raises:
        CaptureError: a word isn't in the prompt or is cut off, or its place wasn't seen.
    """
    found = {word: require_word(prompt.strip(), word).span() for word in words}
    encoders, texts = _seen(pipe, one_pass, prompt)
    for number, encoder in enumerate(encoders):
        rows = next((rows for text in texts if (rows := _rows(encoder, text))), None)
        if rows is not None:
            written, spans = encoder.tokenized()
            start = _only_place(written, prompt.strip())
            if start is None:
                others, _ = _seen(pipe, one_pass, OTHER_PROMPT)
                start = _place_beside(written, others[number].tokenized()[0], prompt.strip())
            return {
                word: _places(spans, rows, (start + first, start + last), word)
                for word, (first, last) in found.items()
            }
    raise CaptureError(
        f"{type(pipe).__name__}: which text its denoiser is handed wasn't seen, so that where a "
        "word's tokens lie isn't known"
    )


def _seen(
    pipe: Any, one_pass: Callable[[Any, str], Any], prompt: str
) -> tuple[list[_Encoder], list[torch.Tensor]]:
    """The text encoders, in order, and what looks like text (L, d) of the denoiser's arguments."""
    shown = copy.copy(pipe)
    encoders: list[_Encoder] = []
    texts: list[torch.Tensor] = []

    def stop(module: Any, args: Any, kwargs: Any) -> None:
        for value in (*args, *kwargs.values()):
            batch: Any = value if isinstance(value, list | torch.Tensor) else []
            if len(batch) == 1 and isinstance(batch[0], torch.Tensor) and batch[0].ndim == 2:
                texts.append(batch[0])
        raise _Enough

    with ExitStack() as stack:
        for name, part in pipe.components.items():
            if not name.startswith("text_encoder") or part is None:
                continue
            tokenizer = name.replace("text_encoder", "tokenizer")
            encoder = _Encoder(getattr(pipe, tokenizer, None))
            if encoder.tokenizer is not None:
                vars(shown)[tokenizer] = _Watched(encoder.tokenizer, encoder.calls)
            encoders.append(encoder)
            stack.enter_context(_watched(part, encoder))
        handle = pipe.transformer.register_forward_pre_hook(stop, with_kwargs=True)
        stack.callback(handle.remove)
        with suppress(_Enough):
            one_pass(shown, prompt)
    return encoders, texts


@contextmanager
def _watched(module: torch.nn.Module, encoder: _Encoder) -> Iterator[None]:
    """A block in which an encoder's first call is noted."""

    def note(_: Any, args: Any, kwargs: Any, found: Any) -> None:
        if encoder.ids:
            return
        ids = kwargs.get("input_ids", args[0] if args else None)
        states = [getattr(found, "last_hidden_state", None), *(found.get("hidden_states") or ())]
        encoder.ids = [] if ids is None else torch.as_tensor(ids).flatten().tolist()
        encoder.states = [s[0] for s in states if isinstance(s, torch.Tensor) and len(s) == 1]

    handle = module.register_forward_hook(note, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _rows(encoder: _Encoder, text: torch.Tensor) -> dict[int, list[int]]:
    """Of each of an encoder's tokens that is in a text (L, D), the rows that are its state.

    Which layer's state it is, most tokens say: padding may be equal in several. Where states of
    several layers lie side by side, or of several encoders, the first is compared.
    """
    found: list[dict[int, list[int]]] = [{}]
    for state in encoder.states:
        if state.shape[1] <= text.shape[1]:
            known: dict[bytes, list[int]] = {}
            for row, content in enumerate(_bytes(text[:, : state.shape[1]])):
                known.setdefault(content, []).append(row)
            given = enumerate(_bytes(state.to(text)))
            found.append({token: known[content] for token, content in given if content in known})
    return max(found, key=len)


def _bytes(rows: torch.Tensor) -> list[bytes]:
    return [row.tobytes() for row in rows.detach().cpu().contiguous().view(torch.uint8).numpy()]


def _only_place(text: str, prompt: str) -> int | None:
    """Where the prompt begins in the text that was tokenized, if it stands there once."""
    return text.index(prompt) if text.count(prompt) == 1 else None


def _place_beside(text: str, other: str, prompt: str) -> int:
    """The same where a template has the prompt's letters too: what differs from another prompt's.

    Raises:
        CaptureError: the text has the prompt in another form.
    """
    start = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), 0)
    part = text[start : start + len(prompt)]
    if other.startswith(OTHER_PROMPT, start) and part.lower() == prompt.lower():
        return start
    raise CaptureError(
        "the prompt stands in another form in the text that is tokenized, so that where a word's "
        "tokens lie isn't known"
    )


def _places(
    spans: list[tuple[int, int]], rows: dict[int, list[int]], place: tuple[int, int], word: str
) -> tuple[int, ...]:
    """The rows of the text that are the word's tokens, of those that lie at its place."""
    first, last = place
    tokens = [number for number, span in enumerate(spans) if span[0] < last and span[1] > first]
    if not tokens or spans[tokens[-1]][1] < last or any(token not in rows for token in tokens):
        raise CaptureError(f"the word {word!r} is cut off: not all of the prompt is taken")
    if any(len(rows[token]) != 1 for token in tokens):
        raise CaptureError(
            f"the word {word!r} has no one place in the text that the denoiser is handed: other "
            "tokens there are equal to its own"
        )
    return tuple(rows[token][0] for token in tokens)
