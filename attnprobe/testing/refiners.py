"""The check that refiners must pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.optimize import linear_sum_assignment

from attnprobe.fields import AnyField, AttentionField, Segmentation, Size, WordMaps
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
from attnprobe.testing.samples import sample_fields, sample_words

_TIES = 0.02
"""Share of pixels that may go elsewhere when labels get other numbers, which decide ties."""


@dataclass(frozen=True)
class _Case:
    """What a refiner is called with; `easy` if it must answer."""

    segmentation: Segmentation
    field: AnyField
    image: Image.Image | None
    easy: bool = False


def check_refiner(component: Any, *, seconds: float = 5.0) -> None:
    """Check that a refiner keeps the contract; works without any diffusion model.

    Beside what all components must keep, it takes `segmentation`, `field`, `rng` and `image`, and
    answers with a segmentation of any size, with labels that its proposals, if any, agree with.
    Equal seeds must give equal answers. Segments are the same whatever their numbers were, but for
    ties.
    It is tried on labels of the grid's size and of the picture's, with and without proposals, with
    gaps between numbers, on one segment, on one token, on pictures of odd sizes and smaller than
    the grid; without a picture, and on degenerate fields, it may refuse with an `AttnProbeError`.
    Where there is a GPU, fields on it are tried too.

    Args:
        component: an instance, with the parameters to check.
        seconds: the most that one call may take; pictures have 2000 pixels at most.

    Raises:
        AssertionError: what is wrong, in a sentence.
    """
    who = check_form(component)
    for device in devices():
        for name, case in _cases(component, device).items():
            where = f"{who} on {name} ({device})"
            with unchanged(
                where, segmentation=case.segmentation, field=case.field, image=case.image
            ):
                given = answers(
                    lambda case=case: _call(component, case),  # type: ignore[misc]
                    where,
                    seconds,
                    may_refuse=not case.easy,
                )
            if given is not None:
                check_segmentation(given[0], where)
                equal = same(given[0].labels, given[1].labels)
                require(equal, f"{where}: two calls with one rng seed gave different labels")
                if case.easy:  # degenerate fields are full of ties
                    _check_numbers_do_not_matter(component, case, given[0], where)


def _call(component: Any, case: _Case) -> Any:
    rng = np.random.default_rng(0)
    return component(case.segmentation, case.field, rng=rng, image=case.image)


def _cases(component: Any, device: str) -> dict[str, _Case]:
    samples: dict[str, AnyField] = {}
    if WordMaps in takes(component):
        samples.update(sample_words(device))
    if AttentionField in takes(component):
        samples.update(sample_fields(device))
    cases = {
        f"the field {name!r}": _Case(_halves(field.grid), field, _picture((37, 41)))
        for name, field in samples.items()
    }
    square = samples.get("blobs", samples.get("one word"))
    wide = samples.get("wide blobs", samples.get("one word, wide"))
    assert square is not None
    assert wide is not None
    odd = _picture((37, 41))
    plain = _Case(_halves(square.grid), square, odd, easy=True)
    soft = _with_proposals(plain.segmentation)
    return cases | {
        "two segments": plain,
        "a wide grid": _Case(_halves(wide.grid), wide, _picture((15, 50)), easy=True),
        "segments with proposals": replace(plain, segmentation=soft),
        "labels of the picture's size": replace(plain, segmentation=_halves((37, 41))),
        "numbers with gaps": replace(
            plain, segmentation=Segmentation(3 * plain.segmentation.labels + 1, names={4: "cat"})
        ),
        "one segment": replace(plain, segmentation=Segmentation(np.zeros(square.grid, int))),
        "a segment a token": replace(
            plain, segmentation=Segmentation(np.arange(64).reshape(square.grid)), easy=False
        ),
        "a picture smaller than the grid": replace(plain, image=_picture((2, 3)), easy=False),
        "a picture of one pixel": replace(plain, image=_picture((1, 1)), easy=False),
        "a picture of one colour": replace(plain, image=Image.new("RGB", (41, 37), "grey")),
        "no picture": replace(plain, image=None, easy=False),
    }


def _halves(size: Size) -> Segmentation:
    """Left and right, with a border that isn't straight."""
    y, x = np.indices(size)
    return Segmentation((x + y % 2 >= size[1] / 2).astype(int))


def _with_proposals(segmentation: Segmentation) -> Segmentation:
    masks = [torch.from_numpy(segmentation.labels == k).float() for k in range(2)]
    return replace(segmentation, proposals=torch.stack(masks))


def _picture(size: Size) -> Image.Image:
    """Two colours, parted by a slanting line, with noise."""
    y, x = np.indices(size)
    right = (3 * x + y > 1.7 * size[1]).astype(np.uint8)[..., None]
    noise = np.random.default_rng(0).integers(0, 40, (*size, 3), np.uint8)
    return Image.fromarray(np.array([200, 80, 40], np.uint8) * right + noise)


def _check_numbers_do_not_matter(
    component: Any, case: _Case, answer: Segmentation, where: str
) -> None:
    """The last number becomes the first and the like, and the answer the same but for numbers."""
    given = case.segmentation
    most = int(given.labels.max())
    proposals = None if given.proposals is None else given.proposals.flip(0)
    turned = replace(given, labels=most - given.labels, proposals=proposals, names=None)
    other = _call(component, replace(case, segmentation=turned))
    alike = answer.labels.shape == other.labels.shape and (
        _agreement(answer.labels, other.labels) >= 1 - _TIES
    )
    require(alike, f"{where}: segments with other numbers gave other segments")


def _agreement(one: np.ndarray, other: np.ndarray) -> float:
    """The share of pixels that agree under the best matching of both sides' labels."""
    sides = [np.unique(labels, return_inverse=True)[1].ravel() for labels in (one, other)]
    table = np.zeros([side.max() + 1 for side in sides], int)
    np.add.at(table, tuple(sides), 1)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / one.size)
