"""Conformance checks for components, ours and everybody's.

A plug-in's test is one line::

    def test_it_keeps_the_contract():
        check_grouper(MyGrouper(clusters=3))
"""

from __future__ import annotations

import inspect
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch

from attnprobe.errors import AttnProbeError
from attnprobe.fields import AttentionField, Segmentation, Size
from attnprobe.recipe.docstring import Docstring
from attnprobe.registry import check_parameters

_EASY = ("blobs", "wide blobs")
"""Fields on which a grouper must answer; others it may refuse with an AttnProbeError."""


def check_grouper(component: Any, *, seconds: float = 5.0) -> None:
    """Check that a grouper keeps the contract; works without any diffusion model.

    It must be a frozen dataclass with a docstring that explains every field, survive pickling,
    take `field`, `rng` and `truth`, and answer on the field's grid with labels that its proposals,
    if any, agree with. Equal seeds must give equal answers whatever NumPy's and PyTorch's own
    generators hold, and neither the field nor the truth may change. It is tried on square, wide,
    one-row and one-token grids and on uniform, identity and block-diagonal fields; degenerate ones
    it may refuse with an `AttnProbeError`. Where there is a GPU, fields on it are tried too.

    Args:
        component: an instance, with the parameters to check.
        seconds: the most that one call may take; the fields have 64 tokens at most.

    Raises:
        AssertionError: what is wrong, in a sentence.
    """
    who = type(component).__name__
    _require(not isinstance(component, type), f"{component}: give an instance, not the class")
    _check_dataclass(component, who)
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        for name, field in sample_fields(device).items():
            for truth in (None, _truth(field.grid)):
                said = "without truth" if truth is None else "with a truth"
                where = f"{who} on the field {name!r} ({device}), {said}"
                may_refuse = truth is None or name not in _EASY
                _check_answers(component, field, truth, where, seconds, may_refuse)


def sample_fields(device: str = "cpu") -> dict[str, AttentionField]:
    """Small fields by name, ordinary and degenerate, square and not."""
    rows = {
        "blobs": (_blobs((8, 8)), (8, 8)),
        "wide blobs": (_blobs((3, 7)), (3, 7)),
        "one row": (_blobs((1, 5)), (1, 5)),
        "two tokens": (_blobs((2, 1)), (2, 1)),
        "one token": (torch.ones(1, 1), (1, 1)),
        "uniform": (torch.full((20, 20), 1 / 20), (5, 4)),
        "identity": (torch.eye(12), (3, 4)),
        "blocks": (torch.block_diag(*[torch.full((6, 6), 1 / 6)] * 3), (3, 6)),
        "one sink": (torch.eye(12)[[5] * 12], (4, 3)),
    }
    return {
        name: AttentionField(matrix.to(device), grid, origin=name)
        for name, (matrix, grid) in rows.items()
    }


def _blobs(grid: Size) -> torch.Tensor:
    """Two halves that look at themselves, with noise: softmaxed, so without zeros."""
    generator = torch.Generator().manual_seed(0)
    n = grid[0] * grid[1]
    half = torch.arange(n) % grid[1] >= grid[1] // 2
    logits = 2.0 * (half[:, None] == half) + 0.3 * torch.randn(n, n, generator=generator)
    return logits.softmax(1)


def _truth(grid: Size) -> np.ndarray:
    """Two classes and some void, at twice the grid's size."""
    truth = np.zeros((2 * grid[0], 2 * grid[1]), np.int64)
    truth[:, grid[1] :] = 3
    truth[0, 0] = -1
    return truth


def _check_dataclass(component: Any, who: str) -> None:
    kind = type(component)
    frozen = is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    _require(frozen, f"{who}: must be a frozen dataclass")
    text = Docstring.parse(inspect.getdoc(kind) or "")
    # A dataclass without a docstring gets its signature for one.
    own = bool(text.summary) and not text.summary.startswith(f"{who}(")
    _require(own, f"{who}: must have a docstring that says what it is")
    missing = [field.name for field in fields(component) if not text.keys.get(field.name)]
    _require(not missing, f"{who}: its docstring has no 'Args:' line for {', '.join(missing)}")
    check_parameters(component)
    try:
        copy = pickle.loads(pickle.dumps(component))
    except Exception as error:
        raise AssertionError(f"{who}: must survive pickling; {error}") from error
    _require(copy == component, f"{who}: must be equal to itself after pickling")


def _check_answers(
    component: Any,
    field: AttentionField,
    truth: np.ndarray | None,
    where: str,
    seconds: float,
    may_refuse: bool,
) -> None:
    rows, labels = field.rows.clone(), None if truth is None else truth.copy()
    start = time.perf_counter()
    try:
        first = component(field, rng=np.random.default_rng(0), truth=truth)
    except AttnProbeError as error:
        _require(may_refuse, f"{where}: refused an ordinary field: {error}")
        return
    except Exception as error:
        raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
    took = time.perf_counter() - start
    _require(took <= seconds, f"{where}: took {took:.1f} s, more than {seconds:g}")
    _check_segmentation(first, field.grid, where)
    with _other_global_seeds():
        second = component(field, rng=np.random.default_rng(0), truth=truth)
    same = np.array_equal(first.labels, second.labels)
    _require(same, f"{where}: two calls with one rng seed gave different labels")
    _require(torch.equal(field.rows, rows), f"{where}: it wrote into the field")
    if truth is not None and labels is not None:
        _require(np.array_equal(truth, labels), f"{where}: it wrote into the truth")


def _check_segmentation(answer: Any, grid: Size, where: str) -> None:
    _require(isinstance(answer, Segmentation), f"{where}: must answer with a Segmentation")
    shape = answer.labels.shape
    _require(shape == grid, f"{where}: labels must have the field's grid {grid}. Got {shape}")
    maps = answer.proposals
    if maps is None:
        return
    is_maps = isinstance(maps, torch.Tensor) and maps.ndim == 3 and maps.is_floating_point()
    _require(is_maps, f"{where}: proposals must be a float tensor (K, h, w), or None")
    _require(bool(maps.isfinite().all()), f"{where}: proposals must be finite")
    agree = np.array_equal(answer.resized(grid).labels, answer.labels)
    _require(agree, f"{where}: labels must be the proposals' argmax, the first of equals")


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


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(sentence)
