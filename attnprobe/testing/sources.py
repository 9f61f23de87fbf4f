"""The check that image sources must pass."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL.Image import Image

from attnprobe.data.base import VOID, Drawing, Sample, each_person
from attnprobe.errors import AttnProbeError
from attnprobe.testing.contract import check_form, require, same


def check_source(component: Any, *, seconds: float = 5.0, samples: int = 3) -> None:
    """Check that an image source keeps the contract; works without any diffusion model.

    Beside what all components must keep, it lists one sample or more, the same ones each time, with
    names that differ and can name files. A sample survives pickling and reads, as often as it is
    asked, the same picture in mode RGB, or a drawing, and the same truth: none, or whole numbers of
    the picture's size from −1 (void), below the number of the source's `classes` where it has them,
    or a tuple of such, one from each person.

    Args:
        component: an instance, with the parameters to check; what it lists must be there.
        seconds: the most that listing, or reading one sample, may take.
        samples: how many are read, the first ones.

    Raises:
        AssertionError: what is wrong, in a sentence.
    """
    who = check_form(component)
    listed = _listed(component, who, seconds)
    names = [sample.name for sample in listed]
    again = [sample.name for sample in _listed(component, who, seconds)]
    require(names == again, f"{who}: two calls listed different samples")
    require(len(set(names)) == len(names), f"{who}: samples' names must differ")
    for name in names:
        require(_names_a_file(name), f"{who}: {name!r} can't name a file")
    classes = getattr(component, "classes", None)
    for sample in listed[:samples]:
        where = f"{who}'s sample {sample.name!r}"
        picture, truth = _read(sample, where, seconds)
        try:
            copy = pickle.loads(pickle.dumps(sample))
        except Exception as error:
            raise AssertionError(f"{where}: must survive pickling; {error}") from error
        for other in (sample, copy):
            equal = same(picture, other.read()) and same(truth, other.truth())
            require(equal, f"{where}: reading it twice gave different pictures or truths")
        _check_picture(picture, where)
        if truth is not None:
            nobody = isinstance(truth, tuple) and not truth
            require(not nobody, f"{where}: the truth is a tuple of none")
            for each in each_person(truth):
                _check_truth(each, picture, where, None if classes is None else len(classes))


def _listed(component: Any, who: str, seconds: float) -> Sequence[Sample]:
    start = time.perf_counter()
    try:
        listed = component()
    except AttnProbeError as error:
        raise AssertionError(f"{who}: listed nothing: {error}") from error
    took = time.perf_counter() - start
    require(took <= seconds, f"{who}: took {took:.1f} s to list, more than {seconds:g}")
    fits = isinstance(listed, Sequence) and all(isinstance(sample, Sample) for sample in listed)
    require(fits, f"{who}: must list samples. Got {type(listed).__name__}")
    require(len(listed) > 0, f"{who}: must list one sample, or raise an ImageError")
    return listed


def _names_a_file(name: Any) -> bool:
    """Whether it is a relative path that stays in its folder on any system."""
    if not isinstance(name, str) or not name.isprintable() or set(name) & set('\\:*?"<>|'):
        return False
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _read(sample: Sample, where: str, seconds: float) -> tuple[Any, Any]:
    start = time.perf_counter()
    try:
        read = sample.read(), sample.truth()
    except Exception as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
    took = time.perf_counter() - start
    require(took <= seconds, f"{where}: took {took:.1f} s to read, more than {seconds:g}")
    return read


def _check_picture(picture: Any, where: str) -> None:
    shown = isinstance(picture, Drawing) or (isinstance(picture, Image) and picture.mode == "RGB")
    got = getattr(picture, "mode", type(picture).__name__)
    require(shown, f"{where}: must read a PIL picture in mode RGB, or a Drawing. Got {got}")


def _check_truth(truth: Any, picture: Any, where: str, classes: int | None) -> None:
    numbers = isinstance(truth, np.ndarray) and np.issubdtype(truth.dtype, np.integer)
    require(numbers, f"{where}: the truth must be an array of whole numbers, or several, or None")
    if isinstance(picture, Image):
        size = picture.height, picture.width
        got = truth.shape
        require(got == size, f"{where}: the truth must have the picture's size {size}. Got {got}")
    least, most = int(truth.min()), int(truth.max())
    require(least >= VOID, f"{where}: the truth must be {VOID} or more. Got {least}")
    known = classes is None or most < classes
    require(known, f"{where}: the truth has class {most} of a source with {classes} classes")
