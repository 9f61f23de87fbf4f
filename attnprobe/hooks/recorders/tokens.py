"""The recorder of words' maps: where on the image each chosen word is looked at from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, MinLen

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.recorders.base import EVERY_AXIS, Recorder
from attnprobe.hooks.recorders.places import token_places
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
        >>> ap.TokenMaps.of(pipe.tokenizer, "a red disc", ["disc"])
        TokenMaps(tokens={'disc': (3,)})
    """

    tokens: Annotated[dict[str, Annotated[tuple[Place, ...], MinLen(1)]], MinLen(1)]

    linear = EVERY_AXIS
    probabilities = True

    @classmethod
    def of(cls, tokenizer: Any, prompt: str, words: list[str] | tuple[str, ...]) -> TokenMaps:
        """Find the words' tokens in a prompt; each word's first occurrence counts.

        Places are counted in what a pipeline has the tokenizer make of the prompt: tokens of
        textual inversions stand for all their vectors.

        Raises:
            CaptureError: a word does not occur in the prompt, or in a part that is cut off, the
                prompt alone doesn't tell where its tokens lie in the text, or what is given is no
                tokenizer, prompt or list of words.
        """
        _check_given(tokenizer, prompt, words)
        return cls({word: token_places(tokenizer, prompt, word) for word in words})

    def record(self, call: AttentionCall) -> torch.Tensor | None:
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
        maps = torch.cat([call.over_heads(probs) @ columns for _, probs in call.chunks()], 1)
        return torch.stack([maps[item, call.image_queries(item)] for item in range(batch)])


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

    def record(self, call: AttentionCall) -> torch.Tensor | None:
        batch = call.shape[0]
        if not all(any(role == "text" for role, _ in call.keys.roles(i)) for i in range(batch)):
            return None
        maps = torch.cat([call.over_heads(probs) for _, probs in call.chunks()], 1)
        return torch.stack(
            [maps[i, call.image_queries(i)][:, call.text_keys(i)] for i in range(batch)]
        )


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
