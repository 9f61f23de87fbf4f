"""The packages that numbers may depend on, in which versions, and whether those say what is run."""

from __future__ import annotations

import json
from importlib.metadata import Distribution, PackageNotFoundError

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "tokenizers",
    "peft",
    "huggingface-hub",
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "safetensors",
)


def version(package: str) -> str | None:
    """A package's version, or None if it isn't installed."""
    try:
        return Distribution.from_name(package).version
    except PackageNotFoundError:
        return None


def is_editable(package: str) -> bool:
    """Whether a package is run from a folder that may change while its version stays."""
    try:
        origin = Distribution.from_name(package).read_text("direct_url.json")
    except PackageNotFoundError:
        return False
    return bool(origin and json.loads(origin).get("dir_info", {}).get("editable"))
