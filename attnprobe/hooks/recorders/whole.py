"""Recorders of whole maps: the mean or maximum over heads, every head, pooled to a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.layout import Tokens
from attnprobe.hooks.recorders.base import EVERY_AXIS, Recorder
from attnprobe.hooks.recorders.head_mean import head_mean
from attnprobe.hooks.recorders.tokens import TokenMaps
from attnprobe.registry import checked
from attnprobe.resample import nearest_cells


@checked
@dataclass(frozen=True)
class HeadMean(Recorder):
    """The mean over heads of the probabilities: (batch, queries, keys) float32.

    Examples:
        >>> layers = ap.Layers(kind="self", block="mid")
        >>> with ap.capture(pipe.unet, layers, ap.HeadMean()) as seen:
        ...     picture = pipe("a red disc", num_inference_steps=1).images[0]
        >>> seen["mid_block.attentions.0.transformer_blocks.0.attn1"].shape
        torch.Size([2, 64, 64])
    """

    linear = EVERY_AXIS
    probabilities = True

    def record(self, call: AttentionCall) -> torch.Tensor:
        return head_mean(call)

    def maps(self, value: torch.Tensor, queries: Tokens, keys: Tokens, item: int) -> torch.Tensor:
        return value[queries.run("image", item), keys.run("image", item)]


@checked
@dataclass(frozen=True)
class HeadMax(Recorder):
    """The largest probability any head gives: (batch, queries, keys) float32; rows sum to ≥ 1.

    Examples:
        >>> layers = ap.Layers(kind="self", block="mid")
        >>> with ap.capture(pipe.unet, layers, ap.HeadMax()) as seen:
        ...     picture = pipe("a red disc", num_inference_steps=1).images[0]
        >>> seen["mid_block.attentions.0.transformer_blocks.0.attn1"].shape  # a step first
        torch.Size([1, 2, 64, 64])
    """

    probabilities = True

    def record(self, call: AttentionCall) -> torch.Tensor:
        batch, _, queries, keys = call.shape
        kept = call.q.new_empty((batch, queries, keys), dtype=torch.float32)
        for rows, probs in call.chunks():
            torch.amax(probs, 1, out=kept[:, rows])
        return kept


@checked
@dataclass(frozen=True)
class PerHead(Recorder):
    """Every head's probabilities: (batch, heads, queries, keys) float32. Large.

    Or every head's maps of words alone: (batch, heads, image queries, words); see `TokenMaps`.

    Args:
        heads: which heads; all of them if none are given.
        words: whose maps, such as ``TokenMaps.of(pipe, prompt, "star")``; whole maps by default.

    Examples:
        >>> layers = ap.Layers(kind="self", block="mid")
        >>> with ap.capture(pipe.unet, layers, ap.PerHead(heads=(0, 3))) as seen:
        ...     picture = pipe("a red disc", num_inference_steps=1).images[0]
        >>> seen["mid_block.attentions.0.transformer_blocks.0.attn1"].shape
        torch.Size([2, 2, 64, 64])
    """

    heads: tuple[Annotated[int, Ge(0)], ...] = ()
    words: TokenMaps | None = None

    linear = EVERY_AXIS
    probabilities = True

    @property
    def of_text(self) -> bool:  # type: ignore[override]
        """Whether words are kept."""
        return self.words is not None

    def record(self, call: AttentionCall) -> torch.Tensor | None:
        batch, heads, queries, keys = call.shape
        chosen = list(self.heads or range(heads))
        if max(chosen) >= heads:
            raise CaptureError(
                f"PerHead.heads: {call.name} has heads 0 to {heads - 1}. Got {max(chosen)} instead."
            )
        if self.words is not None:
            return _of_words(call, chosen, self.words)
        kept = call.q.new_empty((batch, len(chosen), queries, keys), dtype=torch.float32)
        for rows, probs in call.chunks():
            kept[:, :, rows] = probs[:, chosen]
        return kept

    def maps(self, value: torch.Tensor, queries: Tokens, keys: Tokens, item: int) -> torch.Tensor:
        if self.words is not None:
            return super().maps(value, queries, keys, item)
        return value[:, queries.run("image", item), keys.run("image", item)].mean(0)


def _of_words(call: AttentionCall, heads: list[int], words: TokenMaps) -> torch.Tensor | None:
    """(batch, heads, image queries, words)."""
    columns = words.columns(call)
    if columns is None:
        return None
    maps = [probs[:, heads] @ columns[:, None] for _, probs in call.chunks()]
    each = torch.cat(maps, 2)
    return torch.stack([each[i, :, call.image_queries(i)] for i in range(call.shape[0])])


@checked
@dataclass(frozen=True)
class Pooled(Recorder):
    """Head means between the cells of a coarse grid: (batch, H·W, H·W) float32.

    Image queries and image keys only. A cell's map is the mean of its queries' maps; a key cell
    has the sum of its keys' probabilities, so rows still sum to 1 (in joint attention to the part
    that looks at the image). Layers with fewer tokens a side keep their own grid.

    Args:
        cells: (height, width) of the grid to pool to.

    Examples:
        >>> layers = ap.Layers(kind="self", block="mid")
        >>> with ap.capture(pipe.unet, layers, ap.Pooled((4, 4))) as seen:
        ...     picture = pipe("a red disc", num_inference_steps=1).images[0]
        >>> seen["mid_block.attentions.0.transformer_blocks.0.attn1"].shape
        torch.Size([2, 16, 16])
    """

    cells: tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]]

    linear = EVERY_AXIS
    probabilities = True

    def record(self, call: AttentionCall) -> torch.Tensor:
        batch = call.shape[0]
        query_cells = self._cells(call.query_grid, call)
        key_cells = self._cells(call.key_grid, call)
        members = query_cells / query_cells.sum(1, keepdim=True)
        kept = torch.zeros(batch, len(query_cells), len(key_cells), device=call.q.device)
        places = [(call.image_queries(item), call.image_keys(item)) for item in range(batch)]
        for rows, probs in call.chunks():
            maps = call.over_heads(probs)
            for item, (queries, keys) in enumerate(places):
                first, last = max(rows.start, queries.start), min(rows.stop, queries.stop)
                if first < last:
                    part = maps[item, first - rows.start : last - rows.start, keys]
                    weights = members[:, first - queries.start : last - queries.start]
                    kept[item] += weights @ (part @ key_cells.T)
        return kept

    def maps(self, value: torch.Tensor, queries: Tokens, keys: Tokens, item: int) -> torch.Tensor:
        return value

    def field_grid(self, grid: tuple[int, int]) -> tuple[int, int]:
        return min(self.cells[0], grid[0]), min(self.cells[1], grid[1])

    def _cells(self, grid: tuple[int, int, int] | None, call: AttentionCall) -> torch.Tensor:
        """(cells, tokens): 1 where a token lies in a cell."""
        if grid is None or grid[0] != 1:
            raise CaptureError(f"Pooled: the tokens of {call.name} lie on no grid of one image")
        target = self.field_grid(grid[1:])
        cell_of = nearest_cells(target, grid[1:], call.q.device)
        return torch.nn.functional.one_hot(cell_of, target[0] * target[1]).T.float()
