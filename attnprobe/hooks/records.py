"""What a capture leaves behind: a record a layer, and fields made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from attnprobe.errors import CaptureError
from attnprobe.fields import AttentionField
from attnprobe.hooks.layers import Layer
from attnprobe.hooks.recorders import Recorder
from attnprobe.hooks.tokens import Tokens
from attnprobe.registry import did_you_mean

Parts = dict[str, torch.Tensor]
"""Kept tensors by name; a recorder of one tensor keeps it under the empty name."""


@dataclass(eq=False)
class Record:
    """What was kept of one layer.

    Args:
        layer: which it is.
        index: the how manieth call of the layer in a pass.
        queries: roles and grid of its queries, keys likewise.
        branches: guidance branch of each row of the batch axis.
        timesteps: of each step kept.
        calls: how many calls went into it.
        load: gives the tensors, (batch, …), or (steps, batch, …) if each step was kept.
    """

    layer: Layer
    index: int
    queries: Tokens
    keys: Tokens
    heads: int
    branches: tuple[str | None, ...]
    timesteps: tuple[float | None, ...]
    calls: int
    load: Callable[[], Parts] = field(repr=False)

    @property
    def name(self) -> str:
        """The layer's name, ``#1`` and so on added for a later call of a pass."""
        return f"{self.layer.name}#{self.index}" if self.index else self.layer.name

    def row(self) -> dict[str, Any]:
        """The record in a table of layers."""
        grid = self.queries.grid
        return {
            "name": self.name,
            "kind": self.layer.kind,
            "block": self.layer.block,
            "heads": self.heads,
            "grid": grid[1:] if grid is not None and grid[0] == 1 else grid,
            "calls": self.calls,
        }


@dataclass(eq=False)
class Records(Mapping[str, Any]):
    """All records of a capture, by layer name and in the model's order.

    Args:
        records: one a layer (and call, where a layer calls several times in a pass).
        keep: the recorder that made them; None if a file names one that isn't known here.
        over_steps: ``mean`` (steps averaged) or ``each`` (a leading axis of steps).
        model: class of the denoiser.
        half: whether they were kept in float16.
    """

    records: dict[str, Record]
    keep: Recorder | None
    over_steps: str
    model: str
    half: bool = False

    def __getitem__(self, name: str) -> Any:
        """The tensor kept of that layer, or a dict of them."""
        if name not in self.records:
            known = [*self.records]
            raise CaptureError(f"nothing was kept of {name!r}{did_you_mean(name, known)}")
        parts = self.records[name].load()
        return parts[""] if [*parts] == [""] else parts

    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def layers(self) -> list[dict[str, Any]]:
        """A row a layer: name, kind, block, heads, grid of the queries, calls."""
        return [record.row() for record in self.records.values()]

    @property
    def scaled(self) -> bool:
        """Whether half-precision maps are kept times their number of keys."""
        return self.half and (self.keep is None or self.keep.distribution)

    @property
    def nbytes(self) -> int:
        """Bytes of all that is given out."""
        return sum(
            part.nbytes for record in self.records.values() for part in record.load().values()
        )

    def fields(self, item: int = 0, step: int | None = None) -> list[AttentionField]:
        """Self- and joint-attention layers of a batch item as fields, in the model's order.

        Layers of other kinds, and those of text, are left out. Of joint attention the image's
        queries and keys are taken, and each row is divided by its sum again.

        Args:
            item: row of the batch axis.
            step: which step, where each was kept.

        Raises:
            CaptureError: no such layer, a layer on no grid of one image, a recorder without maps.
        """
        if self.keep is None:
            raise CaptureError("fields: the recorder that made this capture isn't known here")
        if self.over_steps == "each" and step is None:
            raise CaptureError("fields: each step was kept apart; say which with step=")
        fields = [
            self._field(record, item, step, self.keep)
            for record in self.records.values()
            if record.layer.kind in ("self", "joint") and not _of_text(record.queries)
        ]
        if not fields:
            raise CaptureError("no self- or joint-attention layer was captured, so no fields")
        return fields

    def _field(self, record: Record, item: int, step: int | None, keep: Recorder) -> AttentionField:
        grid = record.queries.grid
        if grid is None or grid[0] != 1:
            lie = "lie on no grid known" if grid is None else f"are of {grid[0]} frames"
            raise CaptureError(f"the tokens of layer {record.name} {lie}; a field is of one image")
        value = self[record.name]
        value = keep.maps(value if step is None else value[step])
        if not -len(value) <= item < len(value):
            raise CaptureError(f"fields: the batch has {len(value)} items. Got item={item}.")
        maps = value[item]
        whole = keep.field_grid(grid[1:]) != grid[1:]
        if record.layer.kind == "joint" and not whole:
            item = item % max(1, len(record.queries.spans))
            maps = maps[record.queries.run("image", item), record.keys.run("image", item)]
        if record.layer.kind == "joint":
            maps = maps / maps.sum(1, keepdim=True)
        return AttentionField(maps, keep.field_grid(grid[1:]), origin=record.name)

    def save(self, path: str | Path) -> None:
        """Write everything into one safetensors file; `load_capture` reads it back."""
        from attnprobe.hooks.storage import save_records

        save_records(self, Path(path))

    def only(self, names: list[str]) -> Records:
        """The records of these layers alone."""
        return replace(self, records={name: self.records[name] for name in names})


def _of_text(tokens: Tokens) -> bool:
    return tokens.known and all(role != "image" for role, _ in tokens.roles())
