"""What a run's numbers may depend on beside its recipe."""

from __future__ import annotations

import platform
from typing import Any

from attnprobe import about
from attnprobe.packages import PACKAGES, version
from attnprobe.run.forms import FORMAT


def environment(seed: int, model: dict[str, Any]) -> dict[str, Any]:
    """The folder's format, versions, machine, seed, and the model as it describes itself."""
    import torch

    device = str(model.get("device") or "cpu")
    return {
        "format": FORMAT,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "attnprobe": about.version(),
        "packages": {name: version(name) for name in PACKAGES},
        "accelerator": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "model": model,
    }
