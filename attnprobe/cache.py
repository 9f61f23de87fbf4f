"""The cache of aggregated fields: what a denoiser has shown once isn't computed again.

A field is kept under a key of everything that made it (see `field_key`), with a checksum of its
own, so an entry is never wrong, only unused.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnprobe.errors import AttnProbeError
from attnprobe.fields import AnyField, AttentionField, WordMaps
from attnprobe.files import is_temporary, regular, write_whole

if TYPE_CHECKING:
    import torch

LIMIT = 10_000_000_000
"""Bytes of a cache if nobody says otherwise."""

ABANDONED = 3600.0
"""Seconds after which a file that is still being written has lost its writer."""

_KINDS = {kind.__name__: kind for kind in (AttentionField, WordMaps)}

_OURS = re.compile(r".+\.field\.safetensors|[0-9a-f]{64}\.safetensors")
"""Names of entries; the second form is that of version 0.1."""


class FieldCache:
    """Fields on disk, one file each; several processes may use one cache at once.

    Files appear whole, by renaming. Over the limit those go that were not used for longest, and
    so does what killed writers have left. A cache that can't be read or written keeps nothing and
    stops nobody. Files that aren't its own are never touched.

    Args:
        root: its folder; by default that of ``$ATTNPROBE_CACHE``, or ``attnprobe`` in the user's
            cache folder.
        limit: bytes; by default ``$ATTNPROBE_CACHE_LIMIT``, or 10 GB.
    """

    def __init__(self, root: Path | None = None, limit: int | None = None) -> None:
        self.root = default_root() if root is None else Path(root)
        self.limit = _default_limit() if limit is None else limit

    def field(self, key: str, compute: Callable[[], AnyField]) -> AnyField:
        """The field kept under the key, or the one computed now, which is then kept."""
        kept = self.get(key)
        if kept is None:
            kept = compute()
            self.put(key, kept)
        return kept

    def get(self, key: str) -> AnyField | None:
        """The field kept under the key, on the device it was on.

        A damaged file is removed and counts as none; so does one that can't be read, which stays.
        """
        import torch
        from safetensors import safe_open

        path = self._path(key)
        try:
            with safe_open(regular(path), "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                field = _unpacked(tensors, file.metadata() or {}, key)
        except (OSError, MemoryError, torch.OutOfMemoryError):
            return None
        except Exception:  # a damaged file has faults of every kind
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # so that what is used stays
        return field

    def put(self, key: str, field: AnyField) -> None:
        """Keep a field, if it fits and the cache can be written."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        packed = _packed(field, key)
        if packed is None:
            return
        tensors, header = packed
        size = sum(tensor.nbytes for tensor in tensors.values())
        if size > self.limit:
            return
        # Safetensors has an error of its own for a full disk, and torch for memory.
        with suppress(OSError, AttnProbeError, SafetensorError, RuntimeError):
            self.root.mkdir(parents=True, exist_ok=True)
            self._make_room(size)
            with write_whole(self._path(key)) as temporary:
                save_file(tensors, temporary, metadata=header)

    def entries(self) -> list[tuple[Path, int, float]]:
        """File, bytes and time of last use of each field, oldest first."""
        return [entry for entry in self._files() if _OURS.fullmatch(entry[0].name)]

    def clear(self) -> int:
        """Remove all fields, and what killed writers have left; how many fields there were."""
        count = len(self.entries())
        for path, _, _ in self._files():
            _remove(path)
        with suppress(OSError):  # what is somebody else's keeps the folder
            self.root.rmdir()
        return count

    def _path(self, key: str) -> Path:
        return self.root / f"{key}.field.safetensors"

    def _files(self) -> list[tuple[Path, int, float]]:
        """Our files as `entries` lists fields, those that are being written among them."""
        return sorted(self._found(), key=lambda entry: entry[2])

    def _found(self) -> Iterator[tuple[Path, int, float]]:
        try:
            names = os.listdir(self.root)
        except OSError:  # there is none yet, or it may not be read
            return
        for name in names:
            ours = _OURS.fullmatch(name) or (is_temporary(name) and name.endswith(".safetensors"))
            with suppress(OSError):  # another process may have removed it
                status = (self.root / name).lstat()
                if ours and not stat.S_ISDIR(status.st_mode):
                    yield self.root / name, status.st_size, status.st_mtime

    def _make_room(self, needed: int) -> None:
        found = self._files()
        excess = sum(size for _, size, _ in found) + needed - self.limit
        for path, size, used in found:
            abandoned = is_temporary(path.name) and used < time.time() - ABANDONED
            if abandoned or (excess > 0 and not is_temporary(path.name)):
                _remove(path)
                excess -= size


def _packed(field: AnyField, key: str) -> tuple[dict[str, torch.Tensor], dict[str, str]] | None:
    """A field as the tensors and the header of a file; None of a class that isn't known."""
    import torch

    if _KINDS.get(type(field).__name__) is not type(field):
        return None
    values = {each.name: getattr(field, each.name) for each in fields(field)}
    tensors = {name: v for name, v in values.items() if isinstance(v, torch.Tensor)}
    plain = {name: value for name, value in values.items() if name not in tensors}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    try:
        said = json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError):
        return None
    header = {
        "key": key,
        "kind": type(field).__name__,
        "device": str(field.device),
        "values": said,
        "checksum": _checksum(tensors, said),
    }
    return tensors, header


def _unpacked(tensors: dict[str, torch.Tensor], header: dict[str, str], key: str) -> AnyField:
    """The field of a file.

    Raises:
        ValueError: its content isn't what was written, or it was written under another key.
        Exception: of any kind, where the file holds something else.
    """
    if header["key"] != key or header["checksum"] != _checksum(tensors, header["values"]):
        raise ValueError("damaged")
    values: dict[str, Any] = {name: _tupled(v) for name, v in json.loads(header["values"]).items()}
    values |= {name: tensor.to(header["device"]) for name, tensor in tensors.items()}
    return _KINDS[header["kind"]](**values)


def _checksum(tensors: dict[str, torch.Tensor], said: str) -> str:
    from attnprobe.identity import identity

    return identity((tensors, said))


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def default_root() -> Path:
    """The cache's folder if nobody says otherwise."""
    if given := os.environ.get("ATTNPROBE_CACHE"):
        return Path(os.path.expanduser(given))
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(base)) / "attnprobe"


def _default_limit() -> int:
    from attnprobe.units import parse_bytes

    given = os.environ.get("ATTNPROBE_CACHE_LIMIT")
    try:
        return LIMIT if not given else parse_bytes(given)
    except AttnProbeError:
        raise AttnProbeError(
            f"ATTNPROBE_CACHE_LIMIT must be bytes, such as 10GB. Got {given!r} instead."
        ) from None
