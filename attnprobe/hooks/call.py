"""What an observer is told of one attention call."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from attnprobe.errors import CaptureError
from attnprobe.hooks.layers import Batching, Block, Kind, Layer
from attnprobe.hooks.layout import Grid3, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Rows = slice | torch.Tensor
"""Which queries: a slice, or a tensor of their indices."""

Heads = slice | list[int]
"""Which heads."""


@dataclass(frozen=True)
class Moment:
    """When a call was made.

    Args:
        step: number of the denoising step inside the ``with`` block, from 0: a turn of the
            pipeline's loop over the scheduler's timesteps; where no pipeline runs the denoiser,
            passes that follow each other at an equal timestep are one step.
        timestep: as the denoiser was told it, or None.
        run: number of the pass within its step.
        branches: of each batch item ``cond`` or ``uncond`` where it is known, by the name that the
            pipeline gives the pass or by the item's condition, else None.
        stream: the same number for passes of different steps that belong together, having one
            condition.
    """

    step: int = 0
    timestep: float | None = None
    run: int = 0
    branches: tuple[str | None, ...] = ()
    stream: int = 0


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """One call of scaled dot-product attention, its tensors as the kernel saw them.

    They are the model's own, after norms, position embeddings and adapters: read, never written.

    Args:
        layer: whose call it is.
        index: the how manieth call of that layer in the pass; an image adapter's comes second.
        q: (batch, heads, queries, width).
        k: (batch, key heads, keys, width); fewer key heads than heads is grouped-query attention.
        v: (batch, key heads, keys, width).
        mask: added to the logits (or, if bool, kept of them), broadcast to (batch, heads, queries,
            keys), or None.
        scale: factor of the logits.
        is_causal: whether queries see only keys up to their own place.
        out: (batch, heads, queries, width), what the model goes on with.
        queries: roles and grid of the queries.
        keys: roles and grid of the keys.
        moment: step, timestep and guidance branch.
        logsumexp: (batch, heads, queries), logarithm of the sum of exp(logits) over the keys, where
            the kernel told it, else None.
        weights: (batch, heads, queries, keys), the probabilities that the values were multiplied
            by, where the layer computed them by itself (and may have changed them) else None.
        projection: the layer's own projection of the heads' outputs, put side by side, or None.
        batching: how the batch's rows come of the model's.
        shares: how much each head counts in a mean over heads, summing to 1, if not alike.
    """

    layer: Layer
    index: int
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    mask: torch.Tensor | None
    scale: float
    is_causal: bool
    out: torch.Tensor
    queries: Tokens = field(default_factory=Tokens)
    keys: Tokens = field(default_factory=Tokens)
    moment: Moment = field(default_factory=Moment)
    logsumexp: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    projection: Callable[[torch.Tensor], torch.Tensor] | None = None
    batching: Batching = "rows"
    shares: tuple[float, ...] | None = None

    @property
    def name(self) -> str:
        """The layer's dotted name, ``#1`` and so on added for a later call of the same pass."""
        return f"{self.layer.name}#{self.index}" if self.index else self.layer.name

    @property
    def kind(self) -> Kind:
        """The layer's: ``self``, ``cross``, ``joint`` or ``temporal``."""
        return self.layer.kind

    @property
    def block(self) -> Block | None:
        """The layer's: ``down``, ``mid``, ``up``, ``single``, ``double``, or None."""
        return self.layer.block

    @property
    def heads(self) -> int:
        """Number of query heads."""
        return self.q.shape[1]

    @property
    def query_grid(self) -> Grid3 | None:
        """(frames, height, width) of the queries' image tokens, None if they lie on no grid."""
        return self.queries.grid

    @property
    def key_grid(self) -> Grid3 | None:
        """(frames, height, width) of the keys' image tokens, None if they lie on no grid."""
        return self.keys.grid

    @property
    def step(self) -> int:
        """Number of the denoising step, from 0."""
        return self.moment.step

    @property
    def timestep(self) -> float | None:
        """As the denoiser was told it."""
        return self.moment.timestep

    @property
    def grouped(self) -> bool:
        """Whether several query heads share a key head."""
        return self.k.shape[1] != self.q.shape[1]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(batch, heads, queries, keys)."""
        batch, heads, queries, _ = self.q.shape
        return batch, heads, queries, self.k.shape[2]

    def logits(self, rows: Rows = slice(None), heads: Heads = slice(None)) -> torch.Tensor:
        """scale · q kᵀ + mask in float32, (batch, heads, rows, keys); masked keys are −∞.

        Computed when asked for. All rows of a large layer are gigabytes: ask for a chunk, or go
        through `chunks`.
        """
        k = self.k.float()
        if self.grouped:
            k = k.repeat_interleave(self.heads // k.shape[1], 1)
        q = self.q[:, heads][:, :, rows].float() * self.scale
        logits = q @ k[:, heads].transpose(2, 3)
        if self.is_causal:
            places = torch.arange(self.q.shape[2], device=logits.device)[rows]
            ahead = torch.arange(logits.shape[3], device=logits.device) > places[:, None]
            logits.masked_fill_(ahead, float("-inf"))
        if self.mask is not None:
            mask = self.mask.expand(*self.shape)[:, heads][:, :, rows]
            if mask.dtype == torch.bool:
                logits.masked_fill_(~mask, float("-inf"))
            else:
                logits += mask
        return logits

    def probs(self, rows: Rows = slice(None), heads: Heads = slice(None)) -> torch.Tensor:
        """Probabilities in float32, (batch, heads, rows, keys): softmax of `logits`.

        Where a layer computed them by itself and changed them, those that the values were
        multiplied by.
        A query that may see no key at all has zeros, as the kernels have it; what is not a number
        in queries or keys is none here either.
        """
        if self.weights is None:
            logits = self.logits(rows, heads)
            return without_blind(logits.softmax(3), logits)
        probs = self.weights[:, heads][:, :, rows].to(torch.float32, copy=True)
        return without_blind(probs, self.logits(rows, heads)) if probs.isnan().any() else probs

    def chunks(self, elements: int = 1 << 24) -> Iterator[tuple[slice, torch.Tensor]]:
        """All probabilities a chunk of queries at a time, at most `elements` floats in each."""
        batch, heads, queries, keys = self.shape
        size = max(1, elements // (batch * heads * keys))
        if self.q.is_meta:  # there are no numbers to fill the memory
            size = queries
        for top in range(0, queries, size):
            rows = slice(top, min(top + size, queries))
            yield rows, self.probs(rows)

    def over_heads(self, probs: torch.Tensor) -> torch.Tensor:
        """The mean over heads of probabilities (batch, heads, rows, keys), by the heads' shares."""
        if self.shares is None:
            return probs.mean(1)
        return torch.einsum("bhqk,h->bqk", probs, probs.new_tensor(self.shares))

    def of_heads(self, shares: dict[int, float]) -> AttentionCall:
        """The call as if it had these heads only, counting as much as said.

        The layer's own projection is that of all heads, so it is left out.
        """
        heads = list(shares)
        group = self.heads // self.k.shape[1]
        whole = sum(shares.values())
        mask = self.mask
        if mask is not None and mask.ndim > 2 and mask.shape[-3] > 1:  # each head has its own
            mask = mask.expand(self.shape)[:, heads]
        return replace(
            self,
            q=self.q[:, heads],
            k=self.k[:, [head // group for head in heads]],
            v=self.v[:, [head // group for head in heads]],
            mask=mask,
            out=self.out[:, heads],
            logsumexp=None if self.logsumexp is None else self.logsumexp[:, heads],
            weights=None if self.weights is None else self.weights[:, heads],
            projection=None,
            shares=tuple(share / whole for share in shares.values()),
        )

    def image_queries(self, item: int | None = None) -> slice:
        """Which queries are the image's: in a batch item, or the same in all of them.

        Raises:
            CaptureError: roles unknown, no image tokens, or not the same in every item.
        """
        return self._run(self.queries, "image", item)

    def image_keys(self, item: int | None = None) -> slice:
        """Which keys are the image's; see `image_queries`."""
        return self._run(self.keys, "image", item)

    def text_keys(self, item: int | None = None) -> slice:
        """Which keys are the text's; see `image_queries`."""
        return self._run(self.keys, "text", item)

    def _run(self, tokens: Tokens, role: str, item: int | None) -> slice:
        try:
            return tokens.run(role, item)
        except CaptureError as error:
            raise CaptureError(f"{self.name}: {error}") from None


def without_blind(probs: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """The softmax of logits with zeros in the rows that may see no key: all their logits are −∞.

    Any other row of NaN stays what it is, for the model's own numbers were none.
    """
    if probs.is_meta:
        return probs
    lost = probs[..., 0].isnan()
    if not lost.any():
        return probs
    blind = lost & (logits == float("-inf")).all(-1)
    return probs.masked_fill(blind[..., None], 0.0)
