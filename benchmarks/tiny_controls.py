"""How well DiffSeg on `tiny` finds the objects of scenes, beside two controls.

    python benchmarks/tiny_controls.py --count 200

1. DiffSeg as recipes/diffseg.yaml sets it, never told the number of objects.
2. K-Means on RGB patches with position, told the true number.
3. DiffSeg, same settings, on the same network before training (as training starts it).

Each figure is the mean over scenes of the per-image mIoU: segments matched one to one to the true
objects (background included) so that the most pixels agree.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from sklearn.cluster import KMeans

import attnprobe as ap
from attnprobe.data.scenes import SIZE, Scene, make_scene
from attnprobe.evaluate import image_scores
from attnprobe.models.tiny.architecture import make_unet

PATCH = 4
"""Side in pixels of the baseline's patches: tiny's own tokens."""

POSITION = 0.5
"""Weight of the position, the best of 0, 0.5, 1, 2, 4 and 8 on 100 validation scenes."""


def kmeans_on_patches(scene: Scene, position: float = POSITION) -> np.ndarray:
    """Labels (128, 128) by K-Means on 4×4 RGB patches and their places, told the true number."""
    side = SIZE // PATCH
    patches = scene.image.reshape(side, PATCH, side, PATCH, 3).swapaxes(1, 2) / 255.0
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1) / side
    features = np.hstack([patches.reshape(side * side, -1), position * places.reshape(-1, 2)])
    clusters = KMeans(len(np.unique(scene.labels)), n_init=10, random_state=0).fit(features)
    cells = clusters.labels_.reshape(side, side)
    return cells.repeat(PATCH, 0).repeat(PATCH, 1)


def untrained(pipeline: ap.Pipeline) -> ap.Pipeline:
    """The same pipeline with its UNet as training starts it."""
    torch.manual_seed(0)
    trained = pipeline.model
    parts = trained.pipe.components | {"unet": make_unet().eval()}
    pipe = type(trained.pipe)(**parts, requires_safety_checker=False)
    return dataclasses.replace(pipeline, model=type(trained)(pipe, trained.device, "untrained"))


def mean_miou(scenes: Iterable[Scene], segment: Callable[[Scene], np.ndarray]) -> float:
    """Mean over scenes of the per-image mIoU."""
    return float(np.mean([image_scores(segment(s), s.labels).miou for s in scenes]))


def main() -> None:
    """Print the three figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--style", choices=("as-is", "sketch", "paint"), default="as-is")
    parser.add_argument("--recipe", default="recipes/diffseg.yaml")
    args = parser.parse_args()
    scenes = [make_scene(args.split, i, args.style) for i in range(args.count)]
    pipeline = ap.load_recipe(args.recipe).build()
    control = untrained(pipeline)
    methods: dict[str, Callable[[Scene], np.ndarray]] = {
        "DiffSeg on tiny": lambda s: pipeline.segment(s.image).labels,
        "K-Means on RGB patches, told the number": kmeans_on_patches,
        "DiffSeg on tiny untrained": lambda s: control.segment(s.image).labels,
    }
    print(f"{args.count} {args.split} scenes, {args.style}; mean per-image mIoU")
    for name, segment in methods.items():
        shown = track(scenes, name, transient=True, console=Console(stderr=True))
        print(f"{mean_miou(shown, segment):.3f}  {name}")


if __name__ == "__main__":
    main()
