"""The recorder of words' maps: where on the image each chosen word is looked at from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, MinLen

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.recorders.base import EVERY_AXIS, Recorder
from attnprobe.hooks.recorders.places import require_word
from attnprobe.hooks.recorders.reading import reading_of
from attnprobe.registry import checked

Place = Annotated[int, Ge(0)]


@checked
@dataclass(frozen=True)
class TokenMaps(Recorder):
    """Maps of chosen words, by head mean: (batch, image queries, words) float32.

    A word's value at a query is the probability of attending to any of its tokens: the sum over
    them (their union, for a query spreads one unit over all keys). In joint attention the image's
    queries and the text's keys are taken. Of keys that are a reference picture's (an image
    adapter's call), or of which nobody knows what they are, nothing is kept; a layer of which
    nothing at all is kept counts as not observed.

    Args:
        tokens: word -> the places of its tokens in the text; `TokenMaps.of` finds them.

    Examples:
        >>> ap.TokenMaps.of(pipe, "a red disc", "disc")
        TokenMaps(tokens={'disc': (3,)})
    """

    tokens: Annotated[dict[str, Annotated[tuple[Place, ...], MinLen(1)]], MinLen(1)]

    linear = EVERY_AXIS
    probabilities = True
    of_text = True

    @classmethod
    def of(cls, source: Any, prompt: str, words: str | Collection[str]) -> TokenMaps:
        """Find the words' tokens in a prompt; each word's first occurrence counts.

        Places are counted in what a pipeline has the tokenizer make of the prompt: tokens of
        textual inversions stand for all their vectors.

        Args:
            source: a tokenizer; a pipeline with a UNet, whose text encoders are seen to be given
                the tokens; or a `Model`, of transformers' families too.
            prompt: the text.
            words: a word, or several; each may be several words in a row.

        Raises:
            CaptureError: a word does not occur in the prompt, or in a part that is cut off, the
                source doesn't tell where its tokens lie in the text, or what is given is no
                tokenizer, pipeline, prompt or word.
        """
        _check_given(prompt, words)
        names = [words] if isinstance(words, str) else [*words]
        if callable(getattr(source, "places", None)):
            return cls(source.places(prompt, tuple(names)))
        found = {name: range(*require_word(prompt, name).span()) for name in names}
        read = reading_of(source, prompt, "TokenMaps.of")
        return cls({name: read.places(at, f"the word {name!r}") for name, at in found.items()})

    def record(self, call: AttentionCall) -> torch.Tensor | None:
        columns = self.columns(call)
        if columns is None:
            return None
        maps = torch.cat([call.over_heads(probs) @ columns for _, probs in call.chunks()], 1)
        return torch.stack([maps[i, call.image_queries(i)] for i in range(call.shape[0])])

    def columns(self, call: AttentionCall) -> torch.Tensor | None:
        """(batch, keys, words): 1 where a key is one of a word's tokens.

        None of a call whose keys are a reference picture's, or nobody knows what.

        Raises:
            CaptureError: the keys hold no text, or too short a one.
        """
        batch, _, _, keys = call.shape
        roles = {role for item in range(batch) for role, _ in call.keys.roles(item)}
        if not roles or roles <= {"reference", "other"}:
            return None
        if "text" not in roles:
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
        return columns


@checked
@dataclass(frozen=True)
class TextMaps(Recorder):
    """Maps of every token of the text, by head mean: (batch, image queries, text keys) float32.

    Values are shares of all keys, the image's own included: a query's row sums to the part that
    goes to the text. Start, end and padding are tokens as well.

    Examples:
        >>> layers = ap.Layers(kind="cross", block="mid")
        >>> with ap.capture(pipe.unet, layers, ap.TextMaps()) as seen:
        ...     picture = pipe("a red disc", num_inference_steps=1).images[0]
        >>> seen["mid_block.attentions.0.transformer_blocks.0.attn2"].shape
        torch.Size([2, 64, 77])
    """

    linear = EVERY_AXIS
    probabilities = True
    of_text = True

    def record(self, call: AttentionCall) -> torch.Tensor | None:
        batch = call.shape[0]
        if not all(any(role == "text" for role, _ in call.keys.roles(i)) for i in range(batch)):
            return None
        maps = torch.cat([call.over_heads(probs) for _, probs in call.chunks()], 1)
        return torch.stack(
            [maps[i, call.image_queries(i)][:, call.text_keys(i)] for i in range(batch)]
        )


def _check_given(prompt: Any, words: Any) -> None:
    """Refuse what looks like a prompt or words and is none."""
    if not isinstance(prompt, str):
        raise CaptureError(f"TokenMaps.of wants one prompt, a text. Got {prompt!r} instead.")
    several = isinstance(words, Collection) and not isinstance(words, dict)
    if not several or not words or not all(isinstance(word, str) for word in words):
        raise CaptureError(f"TokenMaps.of wants a word or a list of words. Got {words!r} instead.")
