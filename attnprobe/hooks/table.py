"""The table of a denoiser's attention layers, from its shapes alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from attnprobe.hooks.attention_hooks import AttentionHooks
from attnprobe.hooks.call import AttentionCall


def layer_table(denoiser: nn.Module, inputs: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A row a layer: name, index, kind, block, heads, grid, bytes of its head mean, and ``mute``.

    The grid is that of the queries. ``mute`` says why no map can be had of a layer.

    Args:
        denoiser: on the meta device.
        inputs: arguments of a pass on the meta device; without them grid and size stay None.
    """
    hooks = AttentionHooks(denoiser, missing="ignore")
    seen: dict[str, AttentionCall] = {}
    hooks.add(lambda call: seen.setdefault(call.layer.name, call))
    if inputs is not None:
        with torch.no_grad(), torch.device("meta"), hooks:
            denoiser(**inputs)
    rows = []
    for layer in hooks.layers:
        call = seen.get(layer.name)
        grid = call.query_grid if call is not None else None
        rows.append(
            {
                "name": layer.name,
                "index": layer.index,
                "kind": layer.kind,
                "block": layer.block,
                "heads": call.heads if call is not None else layer.heads or None,
                "grid": None if grid is None else list(grid if grid[0] > 1 else grid[1:]),
                "bytes": None if call is None else 4 * call.shape[2] * call.shape[3],
                "mute": layer.mute,
            }
        )
    return rows
