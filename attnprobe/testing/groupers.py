"""The check that groupers must pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnprobe.fields import AnyField, AttentionField, Size, WordMaps
from attnprobe.stages import takes
from attnprobe.testing.contract import (
    answers,
    check_form,
    check_segmentation,
    devices,
    require,
    same,
    unchanged,
)
from attnprobe.testing.samples import EASY, sample_fields, sample_words


def check_grouper(component: Any, *, seconds: float = 5.0) -> None:
    """Check that a grouper keeps the contract; works without any diffusion model.

    Beside what all components must keep, it takes `field`, `rng` and `truth`, and answers on the
    field's grid with labels that its proposals, if any, agree with. Equal seeds must give equal
    answers; of the truth, only which pixels are of one class may matter, not the classes' numbers.
    It is tried on square, wide, one-row and one-token grids and on uniform, identity and
    block-diagonal fields, or on word maps if `field` is annotated as those; degenerate ones it may
    refuse with an `AttnProbeError`. Where there is a GPU, fields on it are tried too.

    Args:
        component: an instance, with the parameters to check.
        seconds: the most that one call may take; the fields have 64 tokens at most.

    Raises:
        AssertionError: what is wrong, in a sentence.
    """
    who = check_form(component)
    for device in devices():
        for name, field in _samples(component, device).items():
            for truth in (None, _truth(field.grid)):
                said = "without truth" if truth is None else "with a truth"
                where = f"{who} on the field {name!r} ({device}), {said}"
                may_refuse = truth is None or name not in EASY
                _check_answers(component, field, truth, where, seconds, may_refuse)


def _samples(component: Any, device: str) -> dict[str, AnyField]:
    samples: dict[str, AnyField] = {}
    if WordMaps in takes(component):
        samples.update(sample_words(device))
    if AttentionField in takes(component):
        samples.update(sample_fields(device))
    return samples


def _truth(grid: Size) -> np.ndarray:
    """Two classes and some void, at twice the grid's size."""
    truth = np.zeros((2 * grid[0], 2 * grid[1]), np.int64)
    truth[:, grid[1] :] = 3
    truth[0, 0] = -1
    return truth


def _check_answers(
    component: Any,
    field: AnyField,
    truth: np.ndarray | None,
    where: str,
    seconds: float,
    may_refuse: bool,
) -> None:
    def call(truth: np.ndarray | None = truth) -> Any:
        return component(field, rng=np.random.default_rng(0), truth=truth)

    with unchanged(where, field=field, truth=truth):
        given = answers(call, where, seconds, may_refuse)
    if given is None:
        return
    first, second = given
    check_segmentation(first, where)
    shape = first.labels.shape
    require(
        shape == field.grid, f"{where}: labels must have the field's grid {field.grid}. Got {shape}"
    )
    equal = same(first.labels, second.labels)
    require(equal, f"{where}: two calls with one rng seed gave different labels")
    if truth is not None:
        other = call(np.where(truth == 3, 1, truth))
        equal = same(first.labels, other.labels)
        require(equal, f"{where}: the numbers of the truth's classes changed the labels")
