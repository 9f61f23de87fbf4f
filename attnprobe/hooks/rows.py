"""Which rows of a call's batch are the prompt's, and which the other branch's."""

from __future__ import annotations

from typing import Literal

import torch

from attnprobe.errors import CaptureError
from attnprobe.hooks.branches import branches_of
from attnprobe.hooks.call import AttentionCall

Item = int | Literal["cond", "uncond"] | None
"""A batch item: a row's number, the branch of the prompt or the other; None is the prompt's."""


def rows_meant(call: AttentionCall, item: Item, who: str) -> list[int]:
    """The rows that an intervention means; none where a pass is the other branch's alone.

    Args:
        call: one of a layer that was chosen.
        item: the prompt's branch by default, or the only row; ``"uncond"``, or a row's number.
        who: the intervention, for what is said.

    Raises:
        CaptureError: there is no such row, or it isn't known which it is.
    """
    batch = call.shape[0]
    if isinstance(item, int) and not isinstance(item, bool):
        if not -batch <= item < batch:
            raise CaptureError(
                f"{who}: item must be {-batch} to {batch - 1}, for the batch of {call.name} has "
                f"{batch} rows. Got {item} instead."
            )
        return [item % batch]
    if item not in (None, "cond", "uncond"):
        raise CaptureError(
            f"{who}: item must be None (the prompt's branch), 'cond', 'uncond' or a row's number. "
            f"Got {item!r} instead."
        )
    told = branches_of(call)
    if item is None and told == (None,) and call.moment.run == 0:
        return [0]
    if told is None or None in told:
        whose = "the other branch's" if item == "uncond" else "the prompt's"
        raise CaptureError(
            f"{who}: which of the {batch} rows of {call.name} is {whose} isn't known; say it by "
            "its number, such as item=0"
        )
    return [row for row, branch in enumerate(told) if branch == (item or "cond")]


def rows_of_one_text(call: AttentionCall, item: Item, who: str) -> list[int]:
    """`rows_meant`, where they are of one prompt: words of others lie at other places.

    Raises:
        CaptureError: the keys of the text aren't the same in all of the rows.
    """
    rows = rows_meant(call, item, who)
    alike = all(torch.equal(call.k[rows[0]], call.k[row]) for row in rows)
    if call.kind == "cross" and not alike:
        raise CaptureError(
            f"{who}: the rows {', '.join(map(str, rows))} of {call.name} are of several prompts; "
            f"say which one is meant, such as item={rows[0]}"
        )
    return rows
