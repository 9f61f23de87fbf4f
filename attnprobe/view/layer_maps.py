"""Maps for the explorer: a layer's attention by head and step, and its pooling to fewer tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from attnprobe.errors import AttnProbeError
from attnprobe.fields import AttentionField, Size
from attnprobe.resample import pool

if TYPE_CHECKING:
    from attnprobe.hooks import Records
    from attnprobe.hooks.rows import Item


@dataclass(frozen=True, eq=False)
class Maps:
    """The maps of one layer, for each head and step.

    Args:
        name: what the layer is called.
        grid: (H, W), the token grid, N = H·W.
        rows: (heads, steps, N, N); one head where heads were averaged, one step likewise.
        steps: a name for each step.
        heads: the heads' numbers; from 0 on by default.

    Raises:
        AttnProbeError: the shape does not fit the grid, steps and heads, or an entry is negative
            or not finite.
    """

    name: str
    grid: Size
    rows: torch.Tensor
    steps: tuple[str, ...] = ("all steps",)
    heads: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        rows = torch.as_tensor(self.rows).detach()
        n = self.grid[0] * self.grid[1]
        heads = self.heads or tuple(range(len(rows)))
        if rows.shape != (len(heads), len(self.steps), n, n) or rows.numel() == 0:
            raise AttnProbeError(
                f"Maps {self.name}: rows must be (heads, steps, H·W, H·W), here "
                f"({len(heads)}, {len(self.steps)}, {n}, {n}). Got {tuple(rows.shape)} instead."
            )
        if not (rows.isfinite().all() and rows.min() >= 0):
            raise AttnProbeError(f"Maps {self.name}: entries must be finite and 0 or more.")
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "heads", heads)

    @classmethod
    def of_field(cls, field: AttentionField, name: str = "") -> Maps:
        """A field's maps: one head, one step, called `name` or else by the field's origin."""
        return cls(name or field.origin or "the field", field.grid, field.rows[None, None])

    def pooled(self, grid: Size) -> Maps:
        """The same maps between the cells of another grid; see `pool`."""
        if grid == self.grid:
            return self
        planes = [pool(rows, self.grid, grid) for rows in self.rows.flatten(0, 1)]
        rows = torch.stack(planes).unflatten(0, self.rows.shape[:2])
        return replace(self, grid=grid, rows=rows)


def maps_of(records: Records, item: Item = None) -> list[Maps]:
    """The self- and joint-attention layers of a capture's batch item, in the model's order.

    Heads are apart where the capture kept them (`PerHead`), steps where it kept each. Of sequences
    that hold more than the image its queries and keys are taken, each row summing to 1 again.

    Args:
        records: a capture's records.
        item: the prompt's branch by default, ``"uncond"``, or a row's number; see `Records.at`.

    Raises:
        CaptureError: no such layer or item, a layer on no grid of one image, or a recorder without
            whole maps.
    """
    from attnprobe.hooks import PerHead

    heads = records.keep.heads if isinstance(records.keep, PerHead) else ()
    if records.over_steps == "mean":
        steps: dict[str, int | None] = {"all steps": None}
    else:
        record = next(iter(records.records.values()))
        steps = {f"step {passes[0].steps[0]}": passes[0].steps[0] for passes in record.steps}
    fields = [records.fields(item, step) for step in steps.values()]
    layers = []
    for each in zip(*fields, strict=True):
        pairs = zip(each, steps.values(), strict=True)
        rows = [_heads(records, field, item, step) for field, step in pairs]
        name, grid = each[0].origin, each[0].grid
        layers.append(Maps(name, grid, torch.stack(rows, 1), tuple(steps), heads))
    return layers


def _heads(records: Records, field: AttentionField, item: Item, step: int | None) -> torch.Tensor:
    """(heads, N, N) of the layer that a field is of; its own rows where heads were averaged."""
    from attnprobe.hooks import PerHead

    if not isinstance(records.keep, PerHead):
        return field.rows[None]
    kept, row = records.find(records.records[field.origin], item, step)
    heads = kept.parts()[""][row]
    heads = heads[:, kept.queries.run("image", row), kept.keys.run("image", row)]
    return heads / heads.sum(2, keepdim=True)
