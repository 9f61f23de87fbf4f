"""What a capture leaves behind: a record a layer, and fields made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from einops import rearrange

from attnprobe.errors import CaptureError, did_you_mean
from attnprobe.fields import AttentionField, WordMaps
from attnprobe.hooks.layers import Layer
from attnprobe.hooks.layout import Tokens
from attnprobe.hooks.recorders import PerHead, Recorder, TextMaps, TokenMaps
from attnprobe.hooks.rows import Item

Parts = dict[str, torch.Tensor]
"""Kept tensors by name; a recorder of one tensor keeps it under the empty name."""

HALF_SCALE = 2.0**15
"""What probabilities are multiplied by in float16, whose largest number is 65 504: exact, and an
entry of 2⁻²⁹ of a row still has all its bits."""


@dataclass(eq=False)
class Kept:
    """What one pass left of one layer; where steps were averaged, what all of them left.

    Args:
        steps: numbers of its denoising steps, `timesteps` likewise.
        branches: guidance branch of each row of the batch axis.
        queries: roles and grid of the queries, `keys` likewise.
        scaled: names of the parts that are stored times `HALF_SCALE`.
        load: gives the tensors as they are stored.
        whole: whether the rows are all that the model was given; a layer may leave some out.
    """

    steps: tuple[int, ...]
    timesteps: tuple[float | None, ...]
    branches: tuple[str | None, ...]
    queries: Tokens
    keys: Tokens
    scaled: frozenset[str]
    load: Callable[[], Parts] = field(repr=False)
    whole: bool = True

    def parts(self) -> Parts:
        """The tensors (batch, …) as the recorder made them."""
        stored = self.load()
        return {
            name: part.float() / HALF_SCALE if name in self.scaled else part
            for name, part in stored.items()
        }


@dataclass(eq=False)
class Record:
    """What was kept of one layer.

    Args:
        layer: which it is.
        index: the how manieth call of the layer in a pass.
        heads: number of query heads.
        calls: how many calls went into it.
        steps: of each step kept (a single one, where they were averaged) its passes: one, or
            several where guidance runs pass by pass.
    """

    layer: Layer
    index: int
    heads: int
    calls: int
    steps: list[list[Kept]]

    @property
    def name(self) -> str:
        """The layer's name, ``#1`` and so on added for a later call of a pass."""
        return f"{self.layer.name}#{self.index}" if self.index else self.layer.name

    def row(self) -> dict[str, Any]:
        """The record in a table of layers."""
        grid = self.steps[0][0].queries.grid
        return {
            "name": self.name,
            "kind": self.layer.kind,
            "block": self.layer.block,
            "heads": self.heads,
            "grid": grid[1:] if grid is not None and grid[0] == 1 else grid,
            "calls": self.calls,
        }


@dataclass(eq=False, repr=False)
class Records(Mapping[str, Any]):
    """All records of a capture, by layer name and in the model's order.

    Args:
        records: one a layer (and call, where a layer calls several times in a pass).
        keep: the recorder that made them; None if a file names one that isn't known here.
        over_steps: ``mean`` (steps averaged) or ``each`` (a leading axis of steps).
        model: class of the denoiser.
    """

    records: dict[str, Record]
    keep: Recorder | None
    over_steps: str
    model: str

    def __repr__(self) -> str:
        over = "mean over steps" if self.over_steps == "mean" else "each step"
        return f"Records({len(self)} layers of {self.model}, {self.keep!r}, {over})"

    def __getitem__(self, name: str) -> Any:
        """What was kept of that layer, a tensor or a dict of them: (batch, …).

        Guidance passes lie beside each other along the batch; where each step was kept, steps are
        one more axis before it.

        Raises:
            CaptureError: nothing was kept of that layer, or its passes or steps differ in size.
        """
        steps = [
            _beside([kept.parts() for kept in passes], name) for passes in self._record(name).steps
        ]
        return _without_names(steps[0] if self.over_steps == "mean" else _stacked(steps, name))

    def __contains__(self, name: object) -> bool:
        return name in self.records

    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def at(self, name: str, item: Item = None, step: int | None = None) -> Any:
        """What was kept of one batch item of a layer, a tensor or a dict, without the batch axis.

        Args:
            name: the layer's.
            item: the prompt's branch by default, or the only row; ``"uncond"`` is the other branch.
                A number is a row of the batch axis, where the passes of a step follow each other.
            step: number of the denoising step, where each was kept and there are several.

        Raises:
            CaptureError: there is no such item or step, or several rows are of that branch.
        """
        kept, row = self.find(self._record(name), item, step)
        return _row(kept, row)

    @property
    def layers(self) -> list[dict[str, Any]]:
        """A row a layer: name, kind, block, heads, grid of the queries, calls."""
        return [record.row() for record in self.records.values()]

    @property
    def branches(self) -> tuple[str | None, ...]:
        """Guidance branch of each batch item, ``cond`` or ``uncond``; None where it isn't known."""
        first = next(iter(self.records.values()), None)
        if first is None:
            return ()
        return tuple(branch for kept in first.steps[0] for branch in kept.branches)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as they are stored."""
        return sum(
            part.nbytes
            for record in self.records.values()
            for step in record.steps
            for kept in step
            for part in kept.load().values()
        )

    def fields(self, item: Item = None, step: int | None = None) -> list[AttentionField]:
        """Self- and joint-attention layers of a batch item as fields, in the model's order.

        Layers of other kinds, and those of text, are left out. Of sequences that hold more than
        the image, its queries and keys are taken, and each row is divided by its sum again.

        Args:
            item: the prompt's branch by default; see `at`.
            step: number of the denoising step, where each was kept and there are several.

        Raises:
            CaptureError: no such layer, a layer on no grid of one image, a recorder without maps.
        """
        if self.keep is None:
            raise CaptureError("fields: the recorder that made this capture isn't known here")
        fields = [
            self._field(record, item, step, self.keep)
            for record in self.records.values()
            if record.layer.kind in ("self", "joint") and not _of_text(record.steps[0][0].queries)
        ]
        if not fields:
            raise CaptureError("no self- or joint-attention layer was captured, so no fields")
        return fields

    def words(
        self, item: Item = None, step: int | None = None, head: int | None = None
    ) -> list[WordMaps]:
        """The words' maps of a batch item, one a layer and in the model's order.

        Of `TextMaps` a word is a token of the text, called by its number.

        Args:
            item: the prompt's branch by default; see `at`.
            step: number of the denoising step, where each was kept and there are several.
            head: number of the head, where each was kept (``PerHead(words=…)``); layers that have
                fewer are left out. The mean over heads by default.

        Raises:
            CaptureError: no words were kept, or no such head, or a layer's queries lie on no grid.
        """
        heads = isinstance(self.keep, PerHead)
        tokens = self.keep.words if isinstance(self.keep, PerHead) else self.keep
        if not isinstance(tokens, TokenMaps | TextMaps):
            raise CaptureError(
                "words: needs a capture with TokenMaps, TextMaps or PerHead(words=…). "
                f"This one is {self.keep!r}"
            )
        if head is not None and not heads:
            raise CaptureError(
                "words: the mean over heads was kept, so there is no head "
                f"{head}; capture with PerHead(words=…)"
            )
        found = []
        for record in self.records.values():
            kept, row = self.find(record, item, step)
            height, _ = self._grid(record, kept)
            maps = _row(kept, row)
            if heads:
                numbers = getattr(self.keep, "heads", ()) or range(record.heads)
                if head is not None and head not in numbers:
                    continue
                maps = maps.mean(0) if head is None else maps[[*numbers].index(head)]
            maps = rearrange(maps, "(h w) word -> word h w", h=height)
            words = tokens.tokens if isinstance(tokens, TokenMaps) else range(len(maps))
            names = tuple(map(str, words))
            found.append(WordMaps(maps, names, origin=record.name))
        if not found and head is not None:
            raise CaptureError(f"words: no layer that was captured has a head {head}")
        if not found:
            raise CaptureError("words: of no layer is it known which of its keys are the text's")
        return found

    def save(self, path: str | Path) -> None:
        """Write everything into one safetensors file; `load_capture` reads it back."""
        from attnprobe.hooks.storage import save_records

        save_records(self, Path(path))

    def _repr_html_(self) -> str:
        from attnprobe.notebook.tables import records_html

        return records_html(self)

    def _field(
        self, record: Record, item: Item, step: int | None, keep: Recorder
    ) -> AttentionField:
        kept, row = self.find(record, item, step)
        grid = self._grid(record, kept)
        maps = keep.maps(_row(kept, row), kept.queries, kept.keys, row)
        if record.layer.kind == "joint" or len(kept.keys.roles(row)) > 1:
            maps = maps / maps.sum(1, keepdim=True)
        return AttentionField(maps, keep.field_grid(grid), origin=record.name)

    def _grid(self, record: Record, kept: Kept) -> tuple[int, int]:
        """Height and width of a layer's tokens."""
        grid = kept.queries.grid
        if grid is None or grid[0] != 1:
            lie = "lie on no grid known" if grid is None else f"are of {grid[0]} frames"
            raise CaptureError(f"the tokens of layer {record.name} {lie}; a field is of one image")
        return grid[1:]

    def _record(self, name: str) -> Record:
        if name not in self.records:
            raise CaptureError(f"nothing was kept of {name!r}{did_you_mean(name, [*self.records])}")
        return self.records[name]

    def find(self, record: Record, item: Item, step: int | None) -> tuple[Kept, int]:
        """The pass that holds a batch item of a step, and its row there; see `at`."""
        passes = self._passes(record, step)
        rows = [(kept, row) for kept in passes for row in range(len(kept.branches))]
        branches = [kept.branches[row] for kept, row in rows]
        only = len(rows) == 1 and rows[0][0].whole
        kept, row = rows[_chosen(item, branches, only, record.name)]
        if item in (None, "cond"):
            _check_steps(kept, passes, record.name)
        return kept, row

    def _passes(self, record: Record, step: int | None) -> list[Kept]:
        if self.over_steps == "mean":
            if step is not None:
                raise CaptureError(
                    f"the steps were averaged, so there is no step {step}; capture with "
                    "over_steps='each' to keep them apart"
                )
            return record.steps[0]
        known = {passes[0].steps[0]: passes for passes in record.steps}
        if step is None and len(known) == 1:
            return record.steps[0]
        if step not in known:
            raise CaptureError(
                f"each step of {record.name} was kept apart, so step must be one of "
                f"{', '.join(map(str, known))}. Got {step} instead."
            )
        return known[step]


def _chosen(item: Item, branches: list[str | None], only: bool, name: str) -> int:
    """The row that is asked for; `only`: whether there was one item altogether.

    Raises:
        CaptureError: there is no such row, or more than one, or it isn't known which it is.
    """
    count = len(branches)
    if isinstance(item, int) and not isinstance(item, bool):
        if not -count <= item < count:
            raise CaptureError(
                f"item must be {-count} to {count - 1}, for the batch of {name} has {count} rows. "
                f"Got {item} instead."
            )
        return item
    if item not in (None, "cond", "uncond"):
        raise CaptureError(
            "item must be None (the prompt's branch), 'cond', 'uncond' or a row's number. "
            f"Got {item!r} instead."
        )
    if item is None and only and branches != ["uncond"]:
        return 0
    fitting = [row for row, branch in enumerate(branches) if branch == (item or "cond")]
    if len(fitting) == 1:
        return fitting[0]
    whose = "the other branch's" if item == "uncond" else "the prompt's"
    known = _listed(branches)
    if fitting:
        raise CaptureError(
            f"the batch of {name} has {len(fitting)} rows that are {whose} (several prompts, "
            f"pictures, frames or windows); say which one is meant: {known}"
        )
    raise CaptureError(
        f"which row of {name} is {whose} isn't known; say which one is meant: {known}"
    )


def _check_steps(kept: Kept, passes: list[Kept], name: str) -> None:
    """Refuse a mean of some of the steps where all of them are asked for.

    Raises:
        CaptureError: the prompt's branch is known at some of the steps only.
    """
    steps = sorted({step for each in passes for step in each.steps})
    if lacking := [step for step in steps if step not in kept.steps]:
        raise CaptureError(
            f"of {len(steps)} steps averaged, which row of {name} is the prompt's is known at "
            f"{len(kept.steps)} only (not at step {lacking[0]}); ask for a row by its number, or "
            "capture with over_steps='each'"
        )


def _listed(branches: list[str | None], most: int = 8) -> str:
    """Rows with their branches; where there are many, those that follow each other as one."""
    runs: list[tuple[int, int, str]] = []
    for row, branch in enumerate(branches):
        name = branch or "unknown"
        if len(branches) > most and runs and runs[-1][2] == name:
            runs[-1] = (runs[-1][0], row, name)
        else:
            runs.append((row, row, name))
    said = [f"{a} ({name})" if a == b else f"{a} to {b} ({name})" for a, b, name in runs[:most]]
    more = f" and others up to {len(branches) - 1}" if len(runs) > most else ""
    return f"item={', '.join(said)}{more}"


def _beside(passes: list[Parts], name: str) -> Parts:
    """The passes of a step beside each other along the batch."""
    if len(passes) == 1:
        return passes[0]
    _same_size([{part: t.shape[1:] for part, t in parts.items()} for parts in passes], name)
    return {part: torch.cat([parts[part] for parts in passes]) for part in passes[0]}


def _stacked(steps: list[Parts], name: str) -> Parts:
    _same_size([{part: t.shape for part, t in parts.items()} for parts in steps], name)
    return {part: torch.stack([parts[part] for parts in steps]) for part in steps[0]}


def _same_size(shapes: list[dict[str, torch.Size]], name: str) -> None:
    if any(other != shapes[0] for other in shapes):
        sizes = ", ".join(" and ".join(str(tuple(s)) for s in each.values()) for each in shapes)
        raise CaptureError(
            f"the passes or steps of {name} differ in size ({sizes}); take them one by one, with "
            "at(name, item, step)"
        )


def _row(kept: Kept, row: int) -> Any:
    return _without_names({part: tensor[row] for part, tensor in kept.parts().items()})


def _without_names(parts: Parts) -> Any:
    """The one part of a recorder that has no other; else all, by name."""
    return parts[""] if [*parts] == [""] else parts


def _of_text(tokens: Tokens) -> bool:
    return tokens.known and all(role != "image" for role, _ in tokens.roles())
