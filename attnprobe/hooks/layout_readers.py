"""Readers of a pass's arguments: the image's grid, the text's length, their order, by family."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import Any

import torch
from einops import rearrange
from torch import nn

from attnprobe.hooks.families import IMAGE_FIRST, family
from attnprobe.hooks.layout import Grid3, Layout, Tokens, spans_of

Runs = list[tuple[str, int]]
Given = dict[str, Any]


def read_layout(model: nn.Module, given: dict[str, Any]) -> Layout:
    """The sequences of a pass, from the arguments of the denoiser's ``forward`` by name."""
    cls = family(model)
    for pattern, read in READERS:
        if re.match(pattern, cls):
            return read(model, given) or Layout()
    return any_transformer(model, given) or Layout()


def unet(model: Any, given: Given) -> Layout | None:
    """UNets: grids are those of the features at each level; frames are a batch of images."""
    sample = given.get("sample")
    if not isinstance(sample, torch.Tensor) or sample.ndim not in (4, 5):
        return None
    grid = (1, sample.shape[-2], sample.shape[-1])
    role = "reference" if family(model).startswith("UNetSpatioTemporal") else "text"
    text = _length(given.get("encoder_hidden_states"))
    others = (Tokens.runs((role, text)),) if text else ()
    return Layout(_image(grid), others=others, halves=True)


def any_transformer(model: Any, given: Given) -> Layout | None:
    """Latents (B, C, H, W) or (B, C, F, H, W) cut into patches, or packed with ids of places."""
    if isinstance(given.get("img_ids"), torch.Tensor):
        return packed(model, given)
    grid = _patched(model, given.get("hidden_states"))
    return None if grid is None else _with_text(model, given, [("image", prod(grid))], grid)


def frames_first(model: Any, given: Given) -> Layout | None:
    """Videos as (B, F, C, H, W)."""
    latents = given["hidden_states"].transpose(1, 2)
    return any_transformer(model, given | {"hidden_states": latents})


def channels_last(model: Any, given: Given) -> Layout | None:
    """Videos as (B, F, H, W, C)."""
    latents = rearrange(given["hidden_states"], "batch ... channels -> batch channels ...")
    return any_transformer(model, given | {"hidden_states": latents})


def frame_by_frame(model: Any, given: Given) -> Layout | None:
    """Videos whose spatial layers see one frame at a time."""
    return any_transformer(model, given | {"hidden_states": given["hidden_states"][:, :, 0]})


def packed(model: Any, given: Given) -> Layout | None:
    """Patches in a row with their places: (picture, row, column, …); further pictures are refs."""
    ids = given["img_ids"]
    ids = ids[0] if ids.ndim == 3 else ids
    if ids.device.type == "meta":
        return None
    pictures = ids[:, 0]
    turns = torch.nonzero(pictures[1:] != pictures[:-1]).flatten() + 1
    starts = [0, *turns.tolist(), len(ids)]
    sizes = [b - a for a, b in pairwise(starts)]
    cached = given.get("kv_cache_mode") == "extract" and given.get("num_ref_tokens", 0)
    main = len(sizes) - 1 if cached else 0
    own = ids[starts[main] : starts[main + 1]]
    grid = (1, len(own[:, 1].unique()), len(own[:, 2].unique()))
    if prod(grid) != sizes[main]:
        return None
    references = sum(sizes) - sizes[main]
    if not cached:
        return _with_text(model, given, [("image", sizes[0]), ("reference", references)], grid)
    image, text = ("image", sizes[main]), ("text", _length(given.get("encoder_hidden_states")))
    return Layout(
        _image(grid),
        joint=(
            Tokens.runs(text, image, grid=grid),
            Tokens.runs(text, ("reference", references), image, grid=grid),
            Tokens.runs(("reference", references)),
        ),
    )


def shaped(model: Any, given: Given) -> Layout | None:
    """Qwen-Image: packed patches and the shapes of the pictures, the first being drawn."""
    shapes = given.get("img_shapes")
    if not shapes:
        return None
    shapes = shapes[0] if isinstance(shapes[0], list) else shapes
    sizes = [prod(shape) for shape in shapes]
    runs = [("image", sizes[0]), ("reference", sum(sizes[1:]))]
    return _with_text(model, given, runs, tuple(shapes[0]))


def sized(model: Any, given: Given) -> Layout | None:
    """LTX: packed patches, their frames, rows and columns told."""
    grid = given.get("num_frames"), given.get("height"), given.get("width")
    if not all(isinstance(side, int) for side in grid):
        return None
    return _with_text(model, given, [("image", prod(grid))], grid)  # type: ignore[arg-type]


def hidream(model: Any, given: Given) -> Layout | None:
    """HiDream: what isn't square is padded to the largest size; Llama's tokens come twice."""
    latents = given["hidden_states"]
    first, llama = given.get("encoder_hidden_states_t5"), given.get("encoder_hidden_states_llama3")
    if latents.ndim != 4 or first is None or llama is None:
        return None
    height, width = latents.shape[2:]
    grid = _patched(model, latents)
    assert grid is not None
    pad = 0 if height == width else model.max_seq - prod(grid)
    text = first.shape[1] + 2 * llama.shape[2]
    runs: Runs = [("image", prod(grid)), ("pad", pad)]
    return Layout(
        Tokens.runs(*runs, grid=grid), joint=(Tokens.runs(*runs, ("text", text), grid=grid),)
    )


def lumina2(model: Any, given: Given) -> Layout | None:
    """Lumina 2: each item's text without its padding, then its image; shorter items are padded."""
    grid = _patched(model, given.get("hidden_states"))
    mask = given.get("encoder_attention_mask")
    if grid is None or mask is None or mask.device.type == "meta":
        return None
    lengths = mask.sum(1).int().tolist()
    items = [
        spans_of([("text", n), ("image", prod(grid)), ("pad", max(lengths) - n)]) for n in lengths
    ]
    text = Tokens.runs(("text", mask.shape[1]))
    return Layout(_image(grid), joint=(Tokens(tuple(items), grid),), others=(text,))


def omnigen(model: Any, given: Given) -> Layout | None:
    """OmniGen: the prompt with pictures in it, a token of time, the image."""
    grid = _patched(model, given.get("hidden_states"))
    ids = given.get("input_ids")
    if grid is None or ids is None:
        return None
    items = []
    for item in range(len(ids)):
        runs: Runs = []
        place = 0
        for start, stop in (given.get("input_image_sizes") or {}).get(item, ()):
            runs += [("text", start - place), ("reference", stop - start)]
            place = stop
        runs += [("text", ids.shape[1] - place), ("time", 1), ("image", prod(grid))]
        items.append(spans_of(runs))
    return Layout(_image(grid), joint=(Tokens(tuple(items), grid),))


def zimage(model: Any, given: Given) -> Layout | None:
    """Z-Image: lists; image and prompt each filled to a multiple of 32, items to the longest."""
    from diffusers.models.transformers.transformer_z_image import SEQ_MULTI_OF

    latents, prompts = given.get("x"), given.get("cap_feats")
    if not latents or not prompts or not all(isinstance(x, torch.Tensor) for x in latents):
        return None
    patch, frames = given.get("patch_size", 2), given.get("f_patch_size", 1)
    _, f, h, w = latents[0].shape
    grid = (f // frames, h // patch, w // patch)

    def filled(count: int) -> int:
        return count + -count % SEQ_MULTI_OF

    pad = filled(prod(grid)) - prod(grid)
    image: Runs = [("image", prod(grid)), ("pad", pad)]
    longest = max(filled(len(prompt)) for prompt in prompts)
    text: list[Runs] = [[("text", len(p)), ("pad", longest - len(p))] for p in prompts]
    return Layout(
        Tokens.runs(*image, grid=grid),
        joint=(Tokens(tuple(spans_of(image + runs) for runs in text), grid),),
        others=(Tokens(tuple(spans_of(runs) for runs in text)),),
    )


def wan(model: Any, given: Given) -> Layout | None:
    """Wan: a picture's features are attended to first, then the last 512 tokens, the text."""
    grid = _patched(model, given.get("hidden_states"))
    if grid is None:
        return None
    picture = _length(given.get("encoder_hidden_states_image"))
    text = Tokens.runs(("text", _length(given.get("encoder_hidden_states"))))
    others = (Tokens.runs(("reference", picture)), text) if picture else (text,)
    return Layout(_image(grid), others=others)


def mochi(model: Any, given: Given) -> Layout | None:
    """Mochi calls item by item, each with its text's tokens that are no padding."""
    grid = _patched(model, given.get("hidden_states"))
    mask = given.get("encoder_attention_mask")
    if grid is None or mask is None or mask.device.type == "meta":
        return None
    image = ("image", prod(grid))
    lengths = mask.sum(1).int().tolist()
    joint = tuple(Tokens.runs(image, ("text", int(n)), grid=grid) for n in lengths)
    return Layout(_image(grid), joint=joint)


def auraflow(model: Any, given: Given) -> Layout | None:
    """AuraFlow: register tokens before the text."""
    grid = _patched(model, given.get("hidden_states"))
    if grid is None:
        return None
    text = _length(given.get("encoder_hidden_states"))
    runs: Runs = [("register", model.register_tokens.shape[1]), ("text", text)]
    joint = Tokens.runs(*runs, ("image", prod(grid)), grid=grid)
    return Layout(_image(grid), joint=(joint,))


READERS: tuple[tuple[str, Callable[[Any, Given], Layout | None]], ...] = (
    (r"UNet|ControlNetModel|ControlNetXS|Kandinsky3UNet|I2VGenXL|MultiControlNet", unet),
    (r"AuraFlow", auraflow),
    (r"CogVideoX|ConsisID", frames_first),
    (r"HiDream", hidream),
    (r"Kandinsky5", channels_last),
    (r"Latte", frame_by_frame),
    (r"LTXVideo", sized),
    (r"Lumina2", lumina2),
    (r"Mochi", mochi),
    (r"OmniGen", omnigen),
    (r"QwenImage", shaped),
    (r"Wan|SkyReels", wan),
    (r"ZImage", zimage),
)
"""Beginning of a class's name -> how its arguments are read; others: `any_transformer`."""

_TEXTS = ("encoder_hidden_states", "encoder_hidden_states_2", "encoder_hidden_states_t5")
"""Arguments that hold text; several are put one after the other."""


def _with_text(model: Any, given: Given, image: Runs, grid: Grid3) -> Layout:
    """Image and text, joint in the family's order, and each alone."""
    lengths = [n for n in (_length(given.get(name)) for name in _TEXTS) if n]
    text: Runs = [("text", sum(lengths))] if lengths else []
    order = image + text if IMAGE_FIRST.match(family(model)) else text + image
    others = [Tokens.runs(("text", n)) for n in dict.fromkeys([sum(lengths), *lengths]) if n]
    return Layout(
        Tokens.runs(*image, grid=grid),
        joint=(Tokens.runs(*order, grid=grid),) if text else (),
        others=tuple(others),
    )


def _image(grid: Grid3) -> Tokens:
    return Tokens.runs(("image", prod(grid)), grid=grid)


def _length(text: Any) -> int:
    """Tokens of an embedding (…, tokens, width), also the first of several; 0 if it is none."""
    if isinstance(text, list | tuple) and text:
        text = text[0]
    return int(text.shape[-2]) if isinstance(text, torch.Tensor) and text.ndim >= 2 else 0


def _patched(model: Any, latents: Any) -> Grid3 | None:
    """The grid of patches; what doesn't fill a patch is left out, as diffusers does."""
    if not isinstance(latents, torch.Tensor) or latents.ndim not in (4, 5):
        return None
    config = getattr(model, "config", {})
    given: Any = config.get("patch_size") or 1
    patch: tuple[int, ...] = (given, given) if isinstance(given, int) else tuple(given)
    rows, columns = latents.shape[-2] // patch[-2], latents.shape[-1] // patch[-1]
    if latents.ndim == 4:
        return 1, rows, columns
    deep = config.get("patch_size_t") or (patch[0] if len(patch) == 3 else 1)
    return -(-latents.shape[2] // deep), rows, columns
