"""The cache of aggregated fields: what a denoiser has shown once isn't computed again.

A field is kept under a key of everything that made it, so an entry is never wrong, only unused:
model and its revision, types and device, the image's pixels, the probe's settings, the aggregator's
keys, and the code of all of them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnprobe.errors import AttnProbeError
from attnprobe.fields import AnyField, AttentionField, WordMaps
from attnprobe.files import write_whole

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from attnprobe.models.model import Model
    from attnprobe.probe import Probe

LIMIT = 10_000_000_000
"""Bytes of a cache if nobody says otherwise."""


class FieldCache:
    """Fields on disk, one file each; several processes may use one cache at once.

    Files appear whole, by renaming. Over the limit those go that were not used for longest. A
    cache that can't be written keeps nothing and stops nobody.

    Args:
        root: its folder; by default that of ``$ATTNPROBE_CACHE``, or ``attnprobe`` in the user's
            cache folder.
        limit: bytes; by default ``$ATTNPROBE_CACHE_LIMIT``, or 10 GB.
    """

    def __init__(self, root: Path | None = None, limit: int | None = None) -> None:
        self.root = default_root() if root is None else root
        self.limit = _default_limit() if limit is None else limit

    def field(self, key: str, compute: Callable[[], AnyField]) -> AnyField:
        """The field kept under the key, or the one computed now, which is then kept."""
        kept = self.get(key)
        if kept is None:
            kept = compute()
            self.put(key, kept)
        return kept

    def get(self, key: str) -> AnyField | None:
        """The field kept under the key; a broken file is removed and counts as none."""
        from safetensors import SafetensorError, safe_open

        path = self._path(key)
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                field = _unpacked(tensors, file.metadata())
            os.utime(path)  # so that what is used stays
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, AttnProbeError, KeyError, ValueError, TypeError):
            with suppress(OSError):
                path.unlink()
            return None
        return field

    def put(self, key: str, field: AnyField) -> None:
        """Keep a field, if it fits and the cache can be written."""
        from safetensors.torch import save_file

        tensors, header = _packed(field)
        size = sum(tensor.nbytes for tensor in tensors.values())
        if size > self.limit:
            return
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._make_room(size)
            with write_whole(self._path(key)) as temporary:
                save_file(tensors, temporary, metadata=header)
        except (OSError, AttnProbeError):
            return

    def entries(self) -> list[tuple[Path, int, float]]:
        """File, bytes and time of last use of each field, oldest first."""
        found = []
        for path in self.root.glob("*.safetensors"):
            with suppress(OSError):  # another process may have removed it
                status = path.stat()
                found.append((path, status.st_size, status.st_mtime))
        return sorted(found, key=lambda entry: entry[2])

    def clear(self) -> int:
        """Remove all fields; how many there were."""
        found = self.entries()
        _remove(path for path, _, _ in found)
        return len(found)

    def _path(self, key: str) -> Path:
        return self.root / f"{key}.safetensors"

    def _make_room(self, needed: int) -> None:
        found = self.entries()
        excess = sum(size for _, size, _ in found) + needed - self.limit
        for path, size, _ in found:
            if excess <= 0:
                return
            _remove([path])
            excess -= size


def _packed(field: AnyField) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """A field as the tensors and the header of a file."""
    if isinstance(field, WordMaps):
        tensors = {"maps": field.maps}
        header = {"words": json.dumps(field.words), "origin": field.origin}
    else:
        tensors = {"rows": field.rows}
        if field.features is not None:
            tensors["features"] = field.features
        header = {"grid": json.dumps(field.grid), "origin": field.origin}
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, header


def _unpacked(tensors: dict[str, torch.Tensor], header: dict[str, str]) -> AnyField:
    if "words" in header:
        return WordMaps(tensors["maps"], tuple(json.loads(header["words"])), header["origin"])
    grid = tuple(json.loads(header["grid"]))
    return AttentionField(tensors["rows"], grid, header["origin"], tensors.get("features"))


def field_key(model: Model, probe: Probe, aggregate: Any, image: Image, seed: int) -> str | None:
    """The key of the field that these make; None for a model that nothing identifies."""
    if model.fingerprint is None:
        return None
    made_of = {
        "model": {**model.describe(), "files": model.fingerprint},
        "image": [image.size, hashlib.sha256(image.tobytes()).hexdigest()],
        "probe": asdict(probe),
        "noise": seed if probe.noise else None,
        "aggregate": [type(aggregate).__qualname__, asdict(aggregate)],
        "code": [_code(_OWN), _code((_module_of(aggregate),))],
        "libraries": _libraries(),
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True, default=str).encode()).hexdigest()


def default_root() -> Path:
    """The cache's folder if nobody says otherwise."""
    if given := os.environ.get("ATTNPROBE_CACHE"):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "attnprobe"


def _default_limit() -> int:
    from attnprobe.hooks.sizes import parse_bytes

    given = os.environ.get("ATTNPROBE_CACHE_LIMIT")
    try:
        return LIMIT if not given else parse_bytes(given)
    except AttnProbeError:
        raise AttnProbeError(
            f"ATTNPROBE_CACHE_LIMIT must be bytes, such as 10GB. Got {given!r} instead."
        ) from None


_OWN = ("aggregate", "hooks", "models", "probe.py", "fields.py", "resample.py", "distances.py")
"""The parts of the package that a field depends on."""


@functools.cache
def _code(parts: tuple[str, ...]) -> str:
    """A hash of source files: of the package's parts, or of files elsewhere."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for part in parts:
        path = package / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            with suppress(OSError):  # a component typed into a session has no file
                digest.update(file.read_bytes())
    return digest.hexdigest()


def _module_of(component: Any) -> str:
    import sys

    return getattr(sys.modules.get(type(component).__module__), "__file__", None) or "?"


@functools.cache
def _libraries() -> list[str]:
    from importlib.metadata import version

    return [f"{name} {version(name)}" for name in ("torch", "diffusers", "transformers")]


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()
