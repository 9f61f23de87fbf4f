"""Which keys of a call are which tokens of the text, told by their values.

A processor may split the text's sequence, attend to parts of it one by one, or put keys of its own
beside it: then counts tell nothing. But the layer's own projection of a token is that token's key.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import nn

from attnprobe.hooks.layout import Tokens

_NEAR = {torch.float32: 1e-3, torch.float64: 1e-6}
"""How far from its projection a key may be, as a share of their lengths; 0.03 in half precision."""


@torch.no_grad()
def text_among(k: torch.Tensor, module: nn.Module, text: torch.Tensor | None) -> Tokens:
    """The keys' roles: ``text`` where they are tokens of a sequence, in its order, else ``other``.

    Places in the text are counted from the sequence's first token, so a part that begins elsewhere
    is no text that words could be found in.

    Args:
        k: (batch, key heads, keys, width).
        module: the layer; its ``to_k`` projects the text.
        text: (batch, tokens, channels), the sequence that it was given.

    Returns:
        Unknown where no key, or keys in more than one way, are the sequence's.
    """
    own = _projected(module, text)
    if own is None or k.is_meta:
        return Tokens()
    keys = rearrange(k, "batch heads tokens channels -> tokens (batch heads channels)").float()
    if text is None or len(text) != len(k) or own.shape[1] != keys.shape[1]:
        return Tokens()
    near = _NEAR.get(k.dtype, 0.03) * (keys.norm(dim=1)[:, None] + own.norm(dim=1))
    same = torch.cdist(keys, own, compute_mode="donot_use_mm_for_euclid_dist") <= near
    counts = {offset: int(same.diagonal(offset).sum()) for offset in range(1 - len(keys), len(own))}
    most = max(counts.values())
    found = [offset for offset, count in counts.items() if count == most]
    if most == 0 or len(found) > 1:
        return Tokens()
    return _runs(same, found[0], len(keys))


def _projected(module: nn.Module, text: torch.Tensor | None) -> torch.Tensor | None:
    """(tokens, batch · channels), as the layer projects them, past the hooks that anybody has."""
    project = getattr(module, "to_k", None)
    if not isinstance(project, nn.Module) or text is None or text.ndim != 3:
        return None
    try:
        own = project.forward(text)
    except (RuntimeError, TypeError, ValueError):  # of another width: not what it projects
        return None
    return rearrange(own, "batch tokens channels -> tokens (batch channels)").float()


def _runs(same: torch.Tensor, offset: int, keys: int) -> Tokens:
    """Keys on the diagonal where token = key + offset, if they are a run that begins the text."""
    line = same.diagonal(offset)
    first = max(0, -offset)
    places = line.nonzero().flatten()
    start, stop = int(places[0]), int(places[-1]) + 1
    if offset > 0 or start > 0 or len(places) < stop - start:
        return Tokens.runs(("other", keys)) if offset > 0 else Tokens()
    return Tokens.runs(
        ("other", first), ("text", stop - start), ("other", keys - first - (stop - start))
    )
