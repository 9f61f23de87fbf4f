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
from attnprobe.hooks.records import Parts, Record, Records
from attnprobe.hooks.tokens import Span, Tokens

_FORMAT = "attnprobe-capture-1"


def save_records(records: Records, path: Path) -> None:
    """Write records into one file, whole or not at all; half-precision maps stay half-precision."""
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    rows = []
    for number, record in enumerate(records.records.values()):
        for name, part in record.load().items():
            kept = part
            if records.half and part.is_floating_point():
                kept = (part * (part.shape[-1] if records.scaled else 1)).to(torch.float16)
            tensors[f"{number}.{name}"] = kept.detach().cpu().contiguous()
        rows.append(_row(record))
    header = {
        "format": _FORMAT,
        "model": records.model,
        "over_steps": records.over_steps,
        "half": json.dumps(records.half),
        "keep": json.dumps(_describe(records.keep)),
        "records": json.dumps(rows),
    }
    with write_whole(path) as target:
        save_file(tensors, target, metadata=header)


def load_capture(path: str | Path) -> Records:
    """Read what `Capture.save` wrote; tensors are read from the file when they are asked for.

    Raises:
        CaptureError: there is no such file, or it is no capture.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CaptureError(f"{path} can't be read as a capture: {error}") from None
    if header.get("format") != _FORMAT:
        raise CaptureError(f"{path} is a safetensors file, but not one that a capture saved")
    keep = _rebuild(json.loads(header["keep"]))
    records = Records({}, keep, header["over_steps"], header["model"], json.loads(header["half"]))
    for number, row in enumerate(json.loads(header["records"])):
        record = _record(row, partial(_load, Path(path), number, records))
        records.records[record.name] = record
    return records


def _load(path: Path, number: int, records: Records) -> Parts:
    from safetensors import safe_open

    parts = {}
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118 - not a dict
            place, _, name = key.partition(".")
            if int(place) == number:
                part = file.get_tensor(key)
                if records.half and part.dtype == torch.float16 and records.scaled:
                    part = part.float() / part.shape[-1]
                parts[name] = part
    return parts


def _row(record: Record) -> dict[str, Any]:
    return {
        "layer": dataclasses.asdict(record.layer),
        "index": record.index,
        "heads": record.heads,
        "queries": _said(record.queries),
        "keys": _said(record.keys),
        "branches": record.branches,
        "timesteps": record.timesteps,
        "calls": record.calls,
    }


def _record(row: dict[str, Any], load: Any) -> Record:
    return Record(
        layer=Layer(**row["layer"]),
        index=row["index"],
        queries=_tokens(row["queries"]),
        keys=_tokens(row["keys"]),
        heads=row["heads"],
        branches=tuple(row["branches"]),
        timesteps=tuple(row["timesteps"]),
        calls=row["calls"],
        load=load,
    )


def _said(tokens: Tokens) -> dict[str, Any]:
    spans = [[(span.role, span.start, span.stop) for span in spans] for spans in tokens.spans]
    return {"spans": spans, "grid": tokens.grid}


def _tokens(said: dict[str, Any]) -> Tokens:
    spans = tuple(tuple(Span(*span) for span in spans) for spans in said["spans"])
    return Tokens(spans, None if said["grid"] is None else tuple(said["grid"]))


def _describe(keep: Recorder | None) -> dict[str, Any]:
    if isinstance(keep, recorders.Keep):
        return {"use": "Keep", "tensors": keep.tensors}
    given: Any = dataclasses.asdict(keep) if dataclasses.is_dataclass(keep) else {}
    return {"use": type(keep).__name__, **given}


def _rebuild(said: dict[str, Any]) -> Recorder | None:
    name = said.pop("use")
    if name not in recorders.__all__:
        return None
    if name == "Keep":
        return recorders.Keep(*said["tensors"])
    return getattr(recorders, name)(**said)
