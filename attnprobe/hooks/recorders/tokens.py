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
            CaptureError: a word does not occur in the prompt, or in a part that is cut off, or the
                prompt alone doesn't tell where its tokens lie in the text.
        """
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
        maps = torch.cat([probs.mean(1) @ columns for _, probs in call.chunks()], 1)
        return torch.stack([maps[item, call.image_queries(item)] for item in range(batch)])
