"""How well the words of captions find their objects in scenes, with `tiny`.

    python -m benchmarks.words_on_scenes --count 200

1. Objects: the share whose best word, by the mean of the normalised maps over the object's own
   mask, is its own noun; chance is one over the number of nouns in the caption.
2. Words: each noun's map against the union of its objects, see `word_scores`; means over words.
3. Names: IoU by noun, of all scenes together, mean over the nouns: of `diffseg-named`, of the same
   segments under names drawn by chance and under true ones (the noun of most pixels), and of
   K-Means on RGB patches, told the number of objects and the true names.

The ground is a noun like the others, and is told apart where objects alone are counted.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import replace

import numpy as np
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.progress import track

import attnprobe as ap
from attnprobe.aggregate import Cross
from attnprobe.data.scenes import Scene, make_scene
from attnprobe.evaluate.word_scores import WordScores, word_scores
from attnprobe.label.naming import normalised
from benchmarks.tiny_controls import kmeans_on_patches

GROUND = "ground"


class NamedIoU:
    """Intersections and unions by noun, of all scenes."""

    def __init__(self) -> None:
        self._both: dict[str, int] = defaultdict(int)
        self._either: dict[str, int] = defaultdict(int)

    def add(self, found: dict[str, np.ndarray], true: dict[str, np.ndarray]) -> None:
        """Take in a scene's masks by noun."""
        for noun in {*found, *true}:
            none = np.zeros(next(iter(true.values())).shape, bool)
            one, other = found.get(noun, none), true.get(noun, none)
            self._both[noun] += int((one & other).sum())
            self._either[noun] += int((one | other).sum())

    def mean(self) -> float:
        """Over the nouns."""
        return float(np.mean([self._both[noun] / self._either[noun] for noun in self._either]))


def masks_by_noun(labels: np.ndarray, names: dict[int, str]) -> dict[str, np.ndarray]:
    """The pixels of each noun."""
    found: dict[str, np.ndarray] = {}
    for number, name in names.items():
        mask = labels == number
        found[name] = found[name] | mask if name in found else mask
    return {name: mask for name, mask in found.items() if mask.any()}


def true_names(labels: np.ndarray, scene: Scene) -> dict[int, str]:
    """The noun of most pixels, by segment."""
    numbers = np.unique(labels)
    counts = [np.bincount(scene.labels[labels == number]).argmax() for number in numbers]
    return {int(n): scene.names[c] for n, c in zip(numbers, counts, strict=True)}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--recipe", default="recipes/diffseg-named.yaml")
    args = parser.parse_args()
    recipe = ap.load_recipe(args.recipe)
    pipeline, dice = recipe.build(), np.random.default_rng(0)
    own, chance, ground = list[bool](), list[float](), list[bool]()
    scores = list[WordScores]()
    ways = ("by cross-attention", "by chance", "true names", "K-Means, true names")
    named = {way: NamedIoU() for way in ways}
    scenes = [make_scene(args.split, i) for i in range(args.count)]
    for scene in track(scenes, transient=True, console=Console(stderr=True)):
        nouns = tuple(dict.fromkeys(scene.names))
        true = masks_by_noun(scene.labels, dict(enumerate(scene.names)))
        attention = pipeline.attention(Image.fromarray(scene.image))
        cut = pipeline.cut(attention)
        found = pipeline.named(cut, attention, scene.caption)
        probe = replace(recipe.probe, prompt=scene.caption, words=nouns)
        words = Cross()(probe(pipeline.model, attention.picture, needs={"words"}))
        maps = normalised(words.maps, recipe.label.normalise)
        size = scene.labels.shape
        large = F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
        values = large.double().numpy()
        for number, name in enumerate(scene.names):
            best = nouns[int(values[:, scene.labels == number].mean(1).argmax())]
            (own if number else ground).append(best == name)
            if number:
                chance.append(1 / len(nouns))
        scores += [word_scores(v, true[n]) for v, n in zip(values, nouns, strict=True) if n in true]
        drawn = {int(n): str(dice.choice(nouns)) for n in np.unique(cut.labels)}
        clusters = kmeans_on_patches(scene)
        named[ways[0]].add(masks_by_noun(found.labels, found.names or {}), true)
        named[ways[1]].add(masks_by_noun(cut.labels, drawn), true)
        named[ways[2]].add(masks_by_noun(cut.labels, true_names(cut.labels, scene)), true)
        named[ways[3]].add(masks_by_noun(clusters, true_names(clusters, scene)), true)
    print(f"{args.count} {args.split} scenes, {args.recipe}")
    print(f"objects called by their own noun  {np.mean(own):.3f} (chance {np.mean(chance):.3f})")
    print(f"grounds called ground             {np.mean(ground):.3f}")
    for what in ("iou", "best_iou", "hit", "auc", "ap"):
        print(f"words: {what:26} {np.nanmean([getattr(s, what) for s in scores]):.3f}")
    for way, each in named.items():
        print(f"named mIoU: {way:21} {each.mean():.3f}")


if __name__ == "__main__":
    main()
