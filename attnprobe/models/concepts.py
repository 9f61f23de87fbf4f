"""Embeddings of words by themselves, for ConceptAttention."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from attnprobe.errors import ModelError
from attnprobe.models.model import Model


@torch.no_grad()
def concept_embeddings(model: Model, words: Sequence[str]) -> torch.Tensor:
    """Each word encoded alone by the pipeline: the embedding (C, d) of its first token.

    For Flux.1 that is T5's first token, as ConceptAttention has it; for Stable Diffusion 3 the
    first of the word's in CLIP, after the token that begins a text.

    Args:
        model: of a Flux.1 or Stable Diffusion 3.
        words: each a word, or several in a row.

    Raises:
        ModelError: the model is of another family.
        CaptureError: where a word's tokens lie isn't known.
    """
    if type(model.pipe).__name__ not in ("FluxPipeline", "StableDiffusion3Pipeline"):
        raise ModelError(f"model {model.name}: concepts are for Flux.1 and Stable Diffusion 3")
    takes = inspect.signature(model.pipe.encode_prompt).parameters
    given: dict[str, Any] = {"prompt_2": None, "prompt_3": None}
    given["do_classifier_free_guidance"] = False
    if model.text_tokens is not None:
        given["max_sequence_length"] = model.text_tokens
    given = {name: value for name, value in given.items() if name in takes}
    rows = []
    for word in words:
        embeddings = model.pipe.encode_prompt(word, device=model.device, **given)[0]
        rows.append(embeddings[0, model.places(word, (word,))[word][0]])
    return torch.stack(rows)
