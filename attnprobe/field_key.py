"""The key under which a field is kept: everything that made it, or none where that isn't known.

Keys are made on the side of what makes fields. The cache only keeps them.
"""

from __future__ import annotations

import functools
import hashlib
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from attnprobe import about
from attnprobe.errors import AttnProbeError
from attnprobe.identity import KNOWN, Unkeyable, identity
from attnprobe.models.model import Model
from attnprobe.packages import PACKAGES, is_editable, version
from attnprobe.probe import Probe

if TYPE_CHECKING:
    from PIL.Image import Image

_UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts of a pipeline that a probe doesn't go through."""

_OF_A_CALL = (
    *("_guidance_scale", "_guidance_rescale", "_clip_skip", "_cross_attention_kwargs"),
    *("_joint_attention_kwargs", "_attention_kwargs", "_skip_guidance_layers", "_denoising_end"),
    *("_interrupt", "_num_timesteps", "_current_timestep", "_progress_bar_config"),
)
"""What a pipeline keeps of its last call, which a probe doesn't make."""


def field_key(model: Any, probe: Any, aggregate: Any, image: Image, seed: int) -> str | None:
    """The key of the field that these make: equal ones, here or in another process, give it again.

    It holds what the model computes with, weight by weight, and not where that was read; the
    image's pixels; the probe, the aggregator and whatever they hold; the code of this package, the
    versions of the libraries, and the machine's arithmetic.

    Returns:
        A hash, or None where something can't be told for sure: a condition in Python, a component
        or a model's part of another package or typed in a session, a hook, a file of this package
        that changed since it was imported. Such a field must not be kept.

    Raises:
        AttnProbeError: a file of this package can't be read.
    """
    if type(model) is not Model or type(probe) is not Probe:
        return None
    try:
        made_of = (
            (probe, aggregate, seed if probe.noise else None),
            (_code(), _libraries(), _arithmetic(model.device)),
            (image.mode, image.size, image.tobytes()),
            _model(model, probe.noise),
        )
        return identity(made_of)
    except (Unkeyable, RecursionError):  # the second from a list that holds itself
        return None


def _model(model: Model, with_scheduler: bool) -> tuple[Any, ...]:
    """All that a pass depends on; the scheduler only makes noise."""
    unused = (*_UNUSED, *_OF_A_CALL, *(() if with_scheduler else ("scheduler",)))
    parts = {name: part for name, part in vars(model.pipe).items() if name not in unused}
    beside = {
        name: value
        for name, value in vars(model).items()
        if name not in ("pipe", "name", "revision", "_parameters")
    }
    return type(model), type(model.pipe), parts, beside


def _code() -> str:
    """A hash of this package's source.

    Raises:
        Unkeyable: a file is newer than what was imported of it.
        AttnProbeError: a file can't be read.
    """
    folder = Path(__file__).parent
    state = []
    for path in sorted(folder.rglob("*.py")):
        try:
            status = path.stat()
        except OSError as error:
            raise AttnProbeError(f"{path}: of attnprobe itself, can't be read: {error}") from None
        if status.st_mtime >= about.IMPORTED:
            raise Unkeyable(f"{path} has changed since it was imported")
        state.append((path, status.st_size, status.st_mtime_ns))
    return _hash_of(tuple(state))


@functools.lru_cache(maxsize=1)
def _hash_of(state: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _, _ in state:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise AttnProbeError(f"{path}: of attnprobe itself, can't be read: {error}") from None
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


@functools.cache
def _libraries() -> list[str]:
    for package in KNOWN[1:]:
        if is_editable(package):
            raise Unkeyable(f"{package} is run from a folder, so that its version says little")
    return [f"{package} {version(package)}" for package in PACKAGES]


def _arithmetic(device: torch.device) -> list[Any]:
    """What decides how sums are rounded, as far as torch says."""
    kind = [platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
    if device.type == "cuda":
        kind += [torch.cuda.get_device_name(device), torch.version.cuda, torch.version.hip]
        kind += [torch.backends.cudnn.version(), list(torch.cuda.get_device_capability(device))]
    elif device.type != "cpu":
        kind += [platform.platform()]
    return [
        *kind,
        str(device),
        torch.get_default_dtype(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
        torch.backends.mkldnn.enabled,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_autocast_enabled(device.type),
        torch.get_autocast_dtype(device.type),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
        torch.backends.cuda.cudnn_sdp_enabled(),
    ]
