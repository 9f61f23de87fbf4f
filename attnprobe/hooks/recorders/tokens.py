"""The recorder of words' maps: where on the image each chosen word is looked at from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, MinLen

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.recorders.base import EVERY_AXIS, Axis, Recorder
from attnprobe.registry import checked, did_you_mean

Place = Annotated[int, Ge(0)]


@checked
@dataclass(frozen=True)
class TokenMaps(Recorder):
    """Maps of chosen words, by head mean: (batch, image queries, words) float32.

    A word's value at a query is the probability of attending to any of its tokens: the sum over
    them (their union, for a query spreads one unit over all keys). In joint attention the image's
    queries and the text's keys are taken.

    Args:
        tokens: word -> the places of its tokens in the text; `TokenMaps.of` finds them.
    """

    tokens: Annotated[dict[str, Annotated[tuple[Place, ...], MinLen(1)]], MinLen(1)]
    linear: ClassVar[frozenset[Axis]] = EVERY_AXIS

    @classmethod
    def of(cls, tokenizer: Any, prompt: str, words: list[str] | tuple[str, ...]) -> TokenMaps:
        """Find the words' tokens in a prompt; each word's first occurrence counts.

        Raises:
            CaptureError: a word does not occur in the prompt.
        """
        return cls({word: token_places(tokenizer, prompt, word) for word in words})

    def record(self, call: AttentionCall) -> torch.Tensor:
        batch, _, _, keys = call.shape
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
        parts = [probs.mean(1) @ columns for _, probs in call.chunks()]
        maps = torch.cat(parts, 1)
        return torch.stack([maps[item, call.image_queries(item)] for item in range(batch)])


def token_places(tokenizer: Any, prompt: str, word: str) -> tuple[int, ...]:
    """The places of a word's tokens in a prompt, by the tokenizer's own cutting.

    Raises:
        CaptureError: the word does not occur in the prompt.
    """
    whole = tokenizer(prompt).input_ids
    special = set(tokenizer.all_special_ids)
    # A tokenizer may cut a word in the middle of a sentence otherwise than at its beginning.
    for given in (word, f" {word}"):
        piece = [i for i in tokenizer(given).input_ids if i not in special]
        for start in range(len(whole) - len(piece) + 1):
            if piece and whole[start : start + len(piece)] == piece:
                return tuple(range(start, start + len(piece)))
    raise CaptureError(f"the prompt has no word {word!r}{did_you_mean(word, prompt.split())}")
