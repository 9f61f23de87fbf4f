"""Captures on disk: one safetensors file, all it needs to be understood in its header."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch

from attnprobe.errors import AttnProbeError, CaptureError
from attnprobe.files import regular, write_whole
from attnprobe.hooks.header import (
    KeptRow,
    RecordRow,
    describe_recorder,
    part_shapes,
    read_recorder,
    read_rows,
    tokens_row,
)
from attnprobe.hooks.recorders import Recorder
from attnprobe.hooks.records import Kept, Parts, Record, Records

_FORMAT = "attnprobe-capture-1"

Shapes = dict[str, tuple[int, ...]]
"""Key of a tensor in a file -> its shape."""

_UNREADABLE = frozenset({"F4", "F6_E2M3", "F6_E3M2", "F8_E8M0"})
"""Types of tensors that a file may hold and PyTorch doesn't read everywhere."""


def save_records(records: Records, path: Path) -> None:
    """Write records into one file, whole or not at all; tensors as they are stored.

    Raises:
        CaptureError: the path doesn't end in ``.safetensors``, or can't be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if path.suffix != ".safetensors":
        raise CaptureError(f"a capture is saved as a .safetensors file. Got {path} instead.")
    tensors: dict[str, torch.Tensor] = {}
    rows = []
    for record in records.records.values():
        rows.append(_row(record, tensors))
    header = {
        "format": _FORMAT,
        "model": records.model,
        "over_steps": records.over_steps,
        "keep": json.dumps(describe_recorder(records.keep)),
        "records": json.dumps(rows),
    }
    with write_whole(path) as target:
        try:
            save_file(tensors, target, metadata=header)
        except SafetensorError as error:
            raise CaptureError(f"{path}: can't be written: {error}") from None


def load_capture(path: str | Path) -> Records:
    """Read what `Capture.save` wrote; tensors are read from the file when they are asked for.

    Raises:
        CaptureError: there is no such file, or it is no capture, or one that is damaged.

    Examples:
        >>> with ap.capture(pipe.unet, ap.Layers(block="mid")) as seen:
        ...     picture = pipe("a red disc", num_inference_steps=1).images[0]
        >>> seen.save("seen.safetensors")
        >>> [layer["kind"] for layer in ap.load_capture("seen.safetensors").layers]
        ['self', 'cross']
    """
    path = Path(path).absolute()
    header, shapes = _header(path)
    if header.get("format") != _FORMAT:
        raise CaptureError(f"{path} is a safetensors file, but not one that a capture saved")
    try:
        return _records(header, shapes, path)
    except KeyError as error:
        raise CaptureError(f"{path} is a damaged capture: its header lacks {error}") from None
    except (TypeError, ValueError, AttnProbeError) as error:
        raise CaptureError(f"{path} is a damaged capture: {error}") from None


def _header(path: Path) -> tuple[dict[str, str], Shapes]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(regular(path), "pt") as file:
            parts = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - no dict
            shapes = {
                key: tuple(part.get_shape())
                for key, part in parts.items()
                if part.get_dtype() not in _UNREADABLE
            }
            return file.metadata() or {}, shapes
    except (OSError, ValueError, SafetensorError) as error:
        said = getattr(error, "strerror", None) or error
        raise CaptureError(f"{path} can't be read as a capture: {said}") from None


def _load(path: Path, keys: dict[str, str]) -> Parts:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(regular(path), "pt") as file:
            return {name: file.get_tensor(key) for name, key in keys.items()}
    except (OSError, SafetensorError) as error:
        said = getattr(error, "strerror", None) or error
        raise CaptureError(f"{path} can't be read any more: {said}") from None


def _records(header: dict[str, str], shapes: Shapes, path: Path) -> Records:
    keep = read_recorder(header["keep"])
    over_steps = header["over_steps"]
    if over_steps not in ("mean", "each"):
        raise ValueError(f"over_steps must be mean or each. Got {over_steps!r} instead")
    records: dict[str, Record] = {}
    for row in read_rows(header["records"]):
        record = _record(row, keep, shapes, path)
        if over_steps == "mean" and len(record.steps) > 1:
            raise ValueError(f"steps of {record.name!r} are said to be averaged, but lie apart")
        if record.name in records:
            raise ValueError(f"it has two records of {record.name!r}")
        records[record.name] = record
    return Records(records, keep, over_steps, header["model"])


def _row(record: Record, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """A record as JSON; its tensors go into `tensors`, under the keys that it names."""

    def row(kept: Kept) -> dict[str, Any]:
        keys = {}
        for name, part in kept.load().items():
            keys[name] = str(len(tensors))
            tensors[keys[name]] = part
        return {
            "steps": kept.steps,
            "timesteps": kept.timesteps,
            "branches": kept.branches,
            "whole": kept.whole,
            "queries": tokens_row(kept.queries),
            "keys": tokens_row(kept.keys),
            "scaled": sorted(kept.scaled),
            "tensors": keys,
        }

    return {
        "layer": dataclasses.asdict(record.layer),
        "index": record.index,
        "heads": record.heads,
        "calls": record.calls,
        "steps": [[row(kept) for kept in passes] for passes in record.steps],
    }


def _record(row: RecordRow, keep: Recorder | None, shapes: Shapes, path: Path) -> Record:
    steps = [
        [_kept(kept, row.heads, keep, shapes, path) for kept in passes] for passes in row.steps
    ]
    return Record(row.layer, row.index, row.heads, row.calls, steps)


def _kept(row: KeptRow, heads: int, keep: Recorder | None, shapes: Shapes, path: Path) -> Kept:
    queries, keys = row.queries.tokens(), row.keys.tokens()
    batch = len(row.branches)
    if any(1 < len(tokens.spans) < batch for tokens in (queries, keys)):
        raise ValueError(f"it tells of the tokens of fewer than its {batch} rows")
    sizes = part_shapes(keep, heads, queries, keys)
    if sizes is not None and {*sizes} != {*row.tensors}:
        raise ValueError(f"its parts are {', '.join(row.tensors)}, which are not those of {keep!r}")
    for name, key in row.tensors.items():
        if key not in shapes:
            raise ValueError(f"it has no tensor {key!r} of a type that can be read")
        _check_shape(shapes[key], batch, None if sizes is None else sizes[name])
    if not {*row.scaled} <= {*row.tensors}:
        raise ValueError(f"of its parts {', '.join(row.tensors)} it scales {', '.join(row.scaled)}")
    return Kept(
        steps=row.steps,
        timesteps=row.timesteps,
        branches=row.branches,
        queries=queries,
        keys=keys,
        scaled=frozenset(row.scaled),
        whole=row.whole,
        load=partial(_load, path, row.tensors),
    )


def _check_shape(shape: tuple[int, ...], batch: int, sizes: tuple[int, ...] | None) -> None:
    rest = shape[1:]
    fits = sizes is None or (
        len(rest) == len(sizes)
        and all(not size or size == given for size, given in zip(sizes, rest, strict=True))
    )
    if not shape or shape[0] != batch or not fits:
        wanted = "…" if sizes is None else ", ".join(str(size or "…") for size in sizes)
        raise ValueError(f"a tensor must be ({batch}, {wanted}). Got {shape} instead")
