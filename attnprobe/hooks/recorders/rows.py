"""The recorder of single maps: where some points of the image look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, MinLen

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.recorders.base import EVERY_AXIS, Recorder
from attnprobe.registry import checked

Side = Annotated[int, Ge(1)]

_ELEMENTS = 1 << 24
"""Probabilities computed at once."""


@checked
@dataclass(frozen=True)
class Rows(Recorder):
    """The maps of some queries only, by head mean: (batch, points, keys) float32.

    Args:
        points: (row, column) of each query on the layer's grid, or on `grid`; the token under a
            point's centre is taken on coarser and finer layers.
        grid: (height, width) that the points are counted on; the layer's own if None.

    Examples:
        >>> layers = ap.Layers(kind="self", block="mid")
        >>> with ap.capture(pipe.unet, layers, ap.Rows(((0, 0), (3, 5)))) as seen:
        ...     picture = pipe("a red disc", num_inference_steps=1).images[0]
        >>> seen["mid_block.attentions.0.transformer_blocks.0.attn1"].shape
        torch.Size([2, 2, 64])
    """

    points: Annotated[tuple[tuple[int, int], ...], MinLen(1)]
    grid: tuple[Side, Side] | None = None

    linear = EVERY_AXIS
    probabilities = True

    def record(self, call: AttentionCall) -> torch.Tensor:
        batch, heads, _, keys = call.shape
        tokens = self._tokens(call)
        starts = [call.image_queries(item).start for item in range(batch)]
        # In some models the image begins elsewhere in each batch item: its maps are computed for
        # all places wanted of any item, each once.
        wanted = sorted({start + token for start in starts for token in tokens})
        device = call.q.device
        chunks = torch.tensor(wanted, device=device).split(
            max(1, _ELEMENTS // (batch * heads * keys))
        )
        maps = torch.cat([call.over_heads(call.probs(rows)) for rows in chunks], 1)
        place = {row: number for number, row in enumerate(wanted)}
        chosen = [[place[start + token] for token in tokens] for start in starts]
        return maps[torch.arange(batch, device=device)[:, None], torch.tensor(chosen).to(device)]

    def _tokens(self, call: AttentionCall) -> list[int]:
        """The points as numbers of image tokens."""
        if call.query_grid is None or call.query_grid[0] != 1:
            raise CaptureError(f"Rows: the queries of {call.name} lie on no grid of one image")
        _, height, width = call.query_grid
        tall, wide = self.grid or (height, width)
        tokens = []
        for y, x in self.points:
            if not (0 <= y < tall and 0 <= x < wide):
                raise CaptureError(
                    f"Rows.points: on the grid {tall}×{wide} y must be 0 to {tall - 1} and x 0 to "
                    f"{wide - 1}. Got ({y}, {x}) instead."
                )
            row, column = (2 * y + 1) * height // (2 * tall), (2 * x + 1) * width // (2 * wide)
            tokens.append(row * width + column)
        return tokens
