"""What a run's numbers may depend on beside its recipe."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import attnprobe

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
)


def environment(seed: int, model: dict[str, Any]) -> dict[str, Any]:
    """Versions, machine, seed, and the model as it describes itself."""
    import torch

    device = str(model.get("device") or "cpu")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "attnprobe": attnprobe.__version__,
        "packages": {name: _version(name) for name in PACKAGES},
        "accelerator": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "model": model,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
