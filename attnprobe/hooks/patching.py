"""A patch: the maps that a capture has of a layer and step, put into another pass."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.handle import Steps
from attnprobe.hooks.layers import Layer, Layers
from attnprobe.hooks.recorders import PerHead
from attnprobe.hooks.records import Records
from attnprobe.hooks.rows import Item, rows_meant
from attnprobe.hooks.token_match import TokenMatch


@dataclass(frozen=True, eq=False)
class Patch:
    """An edit of probabilities: those of a capture in their place; made by `of`.

    Args:
        records: the capture's, with every head and step, `keep` their recorder.
        tokens: which tokens' maps are whose, or None for whole maps.
        item: the row that is patched; see `rows_meant`.
        kept: the steps that were captured.
    """

    records: Records
    keep: PerHead
    tokens: TokenMatch | None
    item: Item
    kept: frozenset[int]

    @classmethod
    def of(cls, capture: Any, tokens: TokenMatch | None, item: Item) -> Patch:
        """The patch of a `Capture` or its `Records`.

        Raises:
            CaptureError: it is none, or keeps no maps of every head and step.
        """
        records = capture if isinstance(capture, Records) else getattr(capture, "records", None)
        if not isinstance(records, Records):
            raise CaptureError(
                f"patch: wants a capture of the other pass. Got {type(capture).__name__} instead."
            )
        if tokens is not None and not isinstance(tokens, TokenMatch):
            raise CaptureError(
                "patch: tokens must be a TokenMatch, such as TokenMatch.replacement(pipe, before, "
                f"after), or None for whole maps. Got {type(tokens).__name__} instead."
            )
        if not isinstance(records.keep, PerHead) or records.keep.words is not None:
            raise CaptureError(
                "patch: the capture must have each head's maps, by capture(…, keep=ap.PerHead(), "
                f"over_steps='each'). This one is {records.keep!r}"
            )
        passes = [kept for r in records.records.values() for step in r.steps for kept in step]
        if any(len(kept.steps) > 1 for kept in passes):
            raise CaptureError(
                "patch: the capture's steps were averaged; capture with over_steps='each'"
            )
        return cls(records, records.keep, tokens, item, frozenset(kept.steps[0] for kept in passes))

    @property
    def heads(self) -> Collection[int] | None:
        """The heads that were captured; None where all were."""
        return self.keep.heads or None

    def layers(self, known: list[Layer], chosen: Layers | None) -> Layers:
        """The layers to patch, of those a model has.

        Raises:
            CaptureError: a chosen one was not captured, or the model has another's layers.
        """
        captured = {record.layer.name for record in self.records.records.values()}
        if chosen is None:
            return Layers(names=tuple(sorted(captured)))
        if isinstance(chosen, Layers):
            lacking = [each.name for each in chosen.select(known) if each.name not in captured]
            if lacking:
                raise CaptureError(
                    f"patch: nothing was captured of {lacking[0]}, which is chosen; capture it, or "
                    "choose among those that were"
                )
        return chosen

    def steps(self, chosen: Steps | None) -> Steps:
        """The steps to patch at.

        Raises:
            CaptureError: one that was not captured.
        """
        if chosen is None:
            return self.kept
        if isinstance(chosen, Collection) and (lacking := {*chosen} - self.kept):
            raise CaptureError(
                f"patch: step {min(lacking)} was not captured, which has "
                f"{', '.join(map(str, sorted(self.kept)))}"
            )
        return chosen

    def rows(self, call: AttentionCall) -> list[int]:
        """The row of a call that is patched, if one is.

        Raises:
            CaptureError: there are several, or it isn't known which it is.
        """
        rows = rows_meant(call, self.item, "patch")
        if len(rows) > 1:
            raise CaptureError(
                f"patch: {call.name} has {len(rows)} rows that are the prompt's, and the capture "
                f"one map; say which row is meant, such as item={rows[0]}"
            )
        return rows

    def __call__(self, probs: torch.Tensor, call: AttentionCall) -> torch.Tensor:
        """The call's probabilities (batch, heads, queries, keys), patched."""
        rows = self.rows(call)
        if not rows:
            return probs
        maps = self._captured(call).to(probs)
        text = self.tokens is not None
        own = probs[rows[0]]
        if maps.shape[:-1] != own.shape[:-1] or (not text and maps.shape != own.shape):
            raise CaptureError(
                f"patch: maps of {call.name} are (heads, queries, keys) {tuple(own.shape)} here "
                f"and {tuple(maps.shape)} in the capture"
            )
        probs[rows[0]] = self._matched(maps, own, call, rows[0]) if text else maps
        return probs

    def _captured(self, call: AttentionCall) -> torch.Tensor:
        """(heads, queries, keys) of the capture's prompt, of the call's layer and step."""
        records = self.records
        step = call.step if records.over_steps == "each" else None
        if step is None and call.step not in self.kept:
            raise CaptureError(f"patch: step {call.step} was not captured")
        if call.name not in records:
            raise CaptureError(f"patch: nothing was captured of {call.name}")
        kept, _ = records.find(records.records[call.name], None, step)
        if None not in (kept.timesteps[0], call.timestep) and kept.timesteps[0] != call.timestep:
            raise CaptureError(
                f"patch: step {call.step} is at timestep {call.timestep:g} here and was at "
                f"{kept.timesteps[0]:g} in the capture; run as many steps in both"
            )
        return records.at(call.name, None, step)

    def _matched(
        self, maps: torch.Tensor, own: torch.Tensor, call: AttentionCall, row: int
    ) -> torch.Tensor:
        """The text's columns of the image's queries: captured ones by their weights, or own."""
        if call.kind != "cross" or self.tokens is None:
            raise CaptureError(
                f"patch: tokens are matched in layers of kind cross; {call.name} is "
                f"{call.kind}. Choose layers, or leave tokens out to take whole maps"
            )
        text = call.text_keys(row)
        if text.stop - text.start != own.shape[-1]:
            raise CaptureError(
                f"patch: {call.name} has keys besides the text's, so that captured ones can't be "
                "matched"
            )
        weights, keeps = self.tokens.matrix(maps.shape[-1], own.shape[-1])
        return torch.where(keeps.to(own.device), own, maps @ weights.to(maps))
