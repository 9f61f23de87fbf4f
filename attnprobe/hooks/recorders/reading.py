"""A prompt as a pipeline's text encoder is given it: seen, where a pipeline is at hand."""

from __future__ import annotations

import inspect
from contextlib import ExitStack
from typing import Any

import torch

from attnprobe.errors import CaptureError
from attnprobe.hooks.recorders.places import ReadPrompt, read_prompt

_SAID = {"num_images_per_prompt": 1, "do_classifier_free_guidance": False}
"""What pipelines' `encode_prompt` are told where they ask for it."""


def reading_of(source: Any, prompt: str, who: str) -> ReadPrompt:
    """The prompt as a tokenizer reads it, or as the text encoders of a pipeline are given it.

    Args:
        source: a tokenizer, a pipeline with a UNet, or a `Model` of one.
        prompt: the text.
        who: asked, for what is said.

    Raises:
        CaptureError: it is none of these, or where its tokens lie isn't known.
    """
    if callable(getattr(source, "tokenize", None)):
        return read_prompt(source, prompt)
    pipe = getattr(source, "pipe", source)
    if not hasattr(pipe, "components"):
        raise CaptureError(
            f"{who} wants a pipeline or its tokenizer, such as pipe.tokenizer. "
            f"Got {type(source).__name__}."
        )
    name = type(pipe).__name__
    if not hasattr(pipe, "unet") or getattr(pipe, "tokenizer", None) is None:
        raise CaptureError(
            f"{who}: where a prompt lies in the text of a {name} isn't known from the pipeline "
            "alone; give attnprobe.models.Model(pipe, device, name) to TokenMaps.of, or the "
            "tokenizer whose text the denoiser is handed"
        )
    read = read_prompt(pipe.tokenizer, prompt)
    for encoder, ids in _given(pipe, prompt, who).items():
        if tuple(ids[: len(read.ids)]) != read.ids:
            raise CaptureError(
                f"{who}: {name}.{encoder} is given other tokens than those that pipe.tokenizer "
                "makes of the prompt, so that where its words lie isn't known"
            )
    return read


def _given(pipe: Any, prompt: str, who: str) -> dict[str, list[int]]:
    """What each text encoder is given: its name -> numbers of tokens."""
    seen: dict[str, list[int]] = {}

    def note(name: str) -> Any:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            ids = kwargs.get("input_ids", args[0] if args else None)
            if isinstance(ids, torch.Tensor) and len(ids) == 1:
                seen.setdefault(name, ids[0].tolist())

        return hook

    encode = getattr(pipe, "encode_prompt", None)
    asked = inspect.signature(encode).parameters if callable(encode) else {}
    known = _SAID | {"device": getattr(pipe, "_execution_device", None)}
    with ExitStack() as stack, torch.no_grad():
        for name, part in pipe.components.items():
            if name.startswith("text_encoder") and isinstance(part, torch.nn.Module):
                handle = part.register_forward_pre_hook(note(name), with_kwargs=True)
                stack.callback(handle.remove)
        if callable(encode):
            encode(prompt, **{key: value for key, value in known.items() if key in asked})
    if not seen:
        raise CaptureError(
            f"{who}: what {type(pipe).__name__} gives its text encoder wasn't seen; give the "
            "tokenizer whose text the denoiser is handed"
        )
    return seen
