"""Captures on disk: one safetensors file, all it needs to be understood in its header."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch

from attnprobe.errors import CaptureError
from attnprobe.files import write_whole
from attnprobe.hooks import recorders
from attnprobe.hooks.layers import Layer
from attnprobe.hooks.recorders import Recorder
from attnprobe.hooks.records import Kept, Parts, Record, Records
from attnprobe.hooks.tokens import Span, Tokens

_FORMAT = "attnprobe-capture-1"


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
        "keep": json.dumps(_describe(records.keep)),
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
        CaptureError: there is no such file, or it is no capture.
    """
    path = Path(path).absolute()
    header = _header(path)
    if header.get("format") != _FORMAT:
        raise CaptureError(f"{path} is a safetensors file, but not one that a capture saved")
    keep = _rebuild(json.loads(header["keep"]))
    each = [_record(row, path) for row in json.loads(header["records"])]
    records = {record.name: record for record in each}
    return Records(records, keep, header["over_steps"], header["model"])


def _header(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CaptureError(f"{path} can't be read as a capture: {error}") from None


def _load(path: Path, keys: dict[str, str]) -> Parts:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(key) for name, key in keys.items()}
    except (OSError, SafetensorError) as error:
        raise CaptureError(f"{path} can't be read any more: {error}") from None


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
            "queries": _spelled(kept.queries),
            "keys": _spelled(kept.keys),
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


def _record(row: dict[str, Any], path: Path) -> Record:
    def kept(row: dict[str, Any]) -> Kept:
        return Kept(
            steps=tuple(row["steps"]),
            timesteps=tuple(row["timesteps"]),
            branches=tuple(row["branches"]),
            queries=_tokens(row["queries"]),
            keys=_tokens(row["keys"]),
            scaled=frozenset(row["scaled"]),
            whole=row["whole"],
            load=partial(_load, path, row["tensors"]),
        )

    return Record(
        layer=Layer(**row["layer"]),
        index=row["index"],
        heads=row["heads"],
        calls=row["calls"],
        steps=[[kept(each) for each in passes] for passes in row["steps"]],
    )


def _spelled(tokens: Tokens) -> dict[str, Any]:
    spans = [[(span.role, span.start, span.stop) for span in spans] for spans in tokens.spans]
    return {"spans": spans, "grid": tokens.grid}


def _tokens(spelled: dict[str, Any]) -> Tokens:
    spans = tuple(tuple(Span(*span) for span in spans) for spans in spelled["spans"])
    return Tokens(spans, None if spelled["grid"] is None else tuple(spelled["grid"]))


def _describe(keep: Recorder | None) -> dict[str, Any] | None:
    """One of our recorders with its parameters; None of somebody else's."""
    name = type(keep).__name__
    if type(keep) is not getattr(recorders, name, None):
        return None
    if isinstance(keep, recorders.Keep):
        return {"use": name, "tensors": keep.tensors}
    return {"use": name, **(dataclasses.asdict(keep) if dataclasses.is_dataclass(keep) else {})}


def _rebuild(described: dict[str, Any] | None) -> Recorder | None:
    if described is None:
        return None
    given = dict(described)
    make: Any = getattr(recorders, given.pop("use"), None)
    return make and make(*given.pop("tensors", ()), **given)
