"""The check that labellers must pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from attnprobe.errors import AttnProbeError
from attnprobe.fields import Segmentation, Size, WordMaps
from attnprobe.label.subject import Subject
from attnprobe.testing.contract import (
    answers,
    check_form,
    check_segmentation,
    devices,
    require,
    same,
    unchanged,
)

PROMPT = "a cat beside a dog"


def check_labeller(component: Any, *, seconds: float = 5.0) -> None:
    """Check that a labeller keeps the contract; works without any diffusion model.

    Beside what all components must keep, it takes `segmentation`, `subject` and `rng`, and answers
    with labels of the same size. It joins segments whole and parts none; all that it joins have one
    name, no name is of two numbers, and names are of labels that occur. Equal seeds must give equal
    answers. It is tried on a prompt, on a caption, on a dataset's classes and on all three; where
    what it goes by isn't there it may refuse with an `AttnProbeError`, but on one of them it must
    answer.

    Args:
        component: an instance, with the parameters to check.
        seconds: the most that one call may take; pictures have 2000 pixels at most.

    Raises:
        AssertionError: what is wrong, in a sentence.
    """
    who = check_form(component)
    for device in devices():
        answered = [
            _check(
                component,
                segmentation,
                subject,
                f"{who} on {name}, with {known} ({device})",
                seconds,
            )
            for known, subject in _subjects(device).items()
            for name, segmentation in _segmentations((37, 41)).items()
        ]
        require(any(answered), f"{who}: refused everything, with a prompt, a caption and classes")


def _check(
    component: Any, segmentation: Segmentation, subject: Subject, where: str, seconds: float
) -> bool:
    """Whether it answered; what is wrong with its answer ends the check."""

    def call() -> Any:
        return component(segmentation, subject, rng=np.random.default_rng(0))

    with unchanged(where, segmentation=segmentation, image=subject.image):
        given = answers(call, where, seconds, may_refuse=True)
    if given is None:
        return False
    first, second = given
    check_segmentation(first, where)
    require(first.size == segmentation.size, f"{where}: labels must keep their size")
    equal = same(first.labels, second.labels) and first.names == second.names
    require(equal, f"{where}: two calls with one rng seed gave different answers")
    _check_joined(segmentation, first, where)
    return True


def _check_joined(before: Segmentation, after: Segmentation, where: str) -> None:
    """What became of each segment."""
    pairs = np.unique(np.stack([before.labels.ravel(), after.labels.ravel()]), axis=1).T
    parted = len(pairs) > len(np.unique(before.labels))
    require(not parted, f"{where}: a segment was parted")
    names = after.names or {}
    absent = set(names) - set(after.labels.ravel().tolist())
    require(not absent, f"{where}: names are given to labels that don't occur: {sorted(absent)}")
    twice = len(set(names.values())) < len(names)
    require(not twice, f"{where}: segments of one name must be one")
    counts = np.unique(pairs[:, 1], return_counts=True)
    joined = {int(number) for number, count in zip(*counts, strict=True) if count > 1}
    require(joined <= set(names), f"{where}: segments without a name were joined")


def _subjects(device: str) -> dict[str, Subject]:
    """What may be known of a picture: its prompt, its caption, classes, or all of it."""
    noise = np.random.default_rng(0).integers(0, 255, (37, 41, 3), np.uint8)
    told = {"prompt": PROMPT, "caption": PROMPT, "classes": ("cat", "dog")}
    known: dict[str, dict[str, Any]] = {f"a {key}": {key: told[key]} for key in told}
    known["all of it"] = told

    def word_maps(text: str, words: tuple[str, ...]) -> WordMaps:
        lost = [word for word in words if word not in text]
        if lost:
            raise AttnProbeError(f"the text {text!r} has no word {lost[0]!r}")
        grid, seed = (8, 9), sum(map(ord, "".join(words)))
        maps = torch.rand(len(words), *grid, generator=torch.Generator().manual_seed(seed))
        return WordMaps(maps.to(device), words, "sample")

    return {
        key: Subject(Image.fromarray(noise), word_maps, **values) for key, values in known.items()
    }


def _segmentations(size: Size) -> dict[str, Segmentation]:
    y, x = np.indices(size)
    quarters = 2 * (y >= size[0] // 2) + (x >= size[1] // 2)
    return {
        "four segments": Segmentation(quarters),
        "numbers with gaps": Segmentation(5 * quarters + 3),
        "one segment": Segmentation(np.zeros(size, int)),
        "segments with names": Segmentation(quarters, names={0: "cat", 3: "sofa"}),
    }
