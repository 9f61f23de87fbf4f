"""What all components must keep: their form, equal answers to equal calls, hands off the input."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from PIL.Image import Image

from attnprobe.errors import AttnProbeError
from attnprobe.fields import Segmentation
from attnprobe.recipe.docstring import Docstring
from attnprobe.registry import check_parameters


def require(holds: bool, sentence: str) -> None:
    """Raise an AssertionError that says what is wrong, unless it holds."""
    if not holds:
        raise AssertionError(sentence)


def devices() -> list[str]:
    """Those that components are tried on."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def check_form(component: Any) -> str:
    """Check that it is a frozen, documented, picklable dataclass; its class's name."""
    require(not isinstance(component, type), f"{component}: give an instance, not the class")
    kind = type(component)
    who = kind.__name__
    frozen = is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    require(frozen, f"{who}: must be a frozen dataclass")
    text = Docstring.of(kind)
    # A dataclass without a docstring gets its signature for one.
    own = bool(text.summary) and not text.summary.startswith(f"{who}(")
    require(own, f"{who}: must have a docstring that says what it is")
    missing = [field.name for field in fields(component) if not text.keys.get(field.name)]
    require(not missing, f"{who}: its docstring has no 'Args:' line for {', '.join(missing)}")
    check_parameters(component)
    try:
        same = pickle.loads(pickle.dumps(component))
    except Exception as error:
        raise AssertionError(f"{who}: must survive pickling; {error}") from error
    require(same == component, f"{who}: must be equal to itself after pickling")
    return who


def answers(
    call: Callable[[], Any], where: str, seconds: float, may_refuse: bool
) -> tuple[Any, Any] | None:
    """What two equal calls answer, the second under other global seeds; None if it refuses."""
    start = time.perf_counter()
    try:
        first = call()
    except AttnProbeError as error:
        require(may_refuse, f"{where}: refused ordinary input: {error}")
        return None
    except Exception as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
    took = time.perf_counter() - start
    require(took <= seconds, f"{where}: took {took:.1f} s, more than {seconds:g}")
    with _other_global_seeds():
        second = call()
    return first, second


@contextmanager
def unchanged(where: str, **given: Any) -> Iterator[None]:
    """A block in which none of the values may change; each by what it is called."""
    before = copy.deepcopy(given)
    yield
    for name, value in given.items():
        require(same(value, before[name]), f"{where}: it wrote into the {name}")


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal in all their numbers: tensors, arrays, pictures, fields."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, Image):
        return one.size == other.size and one.tobytes() == other.tobytes()
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if is_dataclass(one):
        names = [field.name for field in fields(one)]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    return bool(one == other)


def check_segmentation(answer: Any, where: str) -> None:
    """Check that it is a segmentation whose proposals and names, if any, fit its labels."""
    require(isinstance(answer, Segmentation), f"{where}: must answer with a Segmentation")
    for number, name in (answer.names or {}).items():
        named = isinstance(number, int) and isinstance(name, str)
        require(named, f"{where}: names must go from numbers to text. Got {number!r}: {name!r}")
    maps = answer.proposals
    if maps is None:
        return
    is_maps = isinstance(maps, torch.Tensor) and maps.ndim == 3 and maps.is_floating_point()
    require(is_maps, f"{where}: proposals must be a float tensor (K, h, w), or None")
    require(bool(maps.isfinite().all()), f"{where}: proposals must be finite")
    agree = np.array_equal(answer.resized(answer.size).labels, answer.labels)
    require(agree, f"{where}: labels must be the proposals' argmax, the first of equals")


@contextmanager
def _other_global_seeds() -> Iterator[None]:
    """NumPy's and PyTorch's own generators elsewhere for a while: nobody may draw from them."""
    numpy_state = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        torch.manual_seed(12345)
        np.random.seed(12345)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
