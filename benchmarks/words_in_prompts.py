"""What word maps do where a word of the prompt is dropped, doubled or foreign, with `tiny`.

    python -m benchmarks.words_in_prompts --count 60

Of each scene an object whose noun and colour occur once in the caption. AUC: how often a place of
the object is above one outside. Attention: the map's mean over the object, by the noun's in the
caption as it is. Likeness: Pearson's correlation with that noun's map, over the picture. Means over
the scenes.
"""

from __future__ import annotations

import argparse
import re
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
from attnprobe.data.shapes import SHAPES
from attnprobe.evaluate.word_scores import word_scores

FOREIGN = "zebu"
"""A word that no caption has: it is spelt in letters that the model never learnt."""


def chosen(scene: Scene) -> tuple[int, str, str] | None:
    """Label, colour and noun of an object that is alone in having them; None if none is."""
    for label, noun in enumerate(scene.names):
        found = re.findall(rf"a (\w+) \w+ {noun}\b", scene.caption)
        words = scene.caption.replace(",", "").split()
        if label and len(found) == 1 and words.count(noun) == words.count(found[0]) == 1:
            return label, found[0], noun
    return None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    args = parser.parse_args()
    recipe = ap.load_recipe("diffseg-named")
    model = recipe.build().model
    rows: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    used = 0
    for number in track(range(args.count), transient=True, console=Console(stderr=True)):
        scene = make_scene(args.split, number)
        if (target := chosen(scene)) is None:
            continue
        used += 1
        label, colour, noun = target
        mask, caption = scene.labels == label, scene.caption
        absent = next(shape for shape in SHAPES if shape not in scene.names)

        def seen(prompt: str, *words: str, scene: Scene = scene) -> list[np.ndarray]:
            probe = replace(recipe.probe, prompt=prompt, words=words)
            maps = Cross()(probe(model, Image.fromarray(scene.image), needs={"words"})).maps
            size = scene.labels.shape
            large = F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
            return [*large.double().numpy()]

        def put(word: str, caption: str = caption, noun: str = noun) -> str:
            return re.sub(rf" {noun}\b", f" {word}" if word else "", caption)

        own, its_colour = seen(caption, noun, colour)
        first, both = seen(put(f"{noun} {noun}"), noun, f"{noun} {noun}")
        maps = {
            "as it is: the noun": own,
            "as it is: its colour": its_colour,
            "noun dropped: its colour": seen(put(""), colour)[0],
            "noun doubled: the first": first,
            "noun doubled: the second": both - first,
            "noun doubled: both": both,
            "another noun in its place": seen(put(absent), absent)[0],
            "a foreign word in its place": seen(put(FOREIGN), FOREIGN)[0],
        }
        for name, values in maps.items():
            share = values[mask].mean() / own[mask].mean()
            like = np.corrcoef(values.ravel(), own.ravel())[0, 1]
            rows[name].append((word_scores(values, mask).auc, share, like))
    print(f"{used} objects of {args.count} {args.split} scenes")
    print("| prompt: word | AUC | attention | likeness |\n|---|---:|---:|---:|")
    for name, each in rows.items():
        auc, share, like = np.mean(each, 0)
        print(f"| {name} | {auc:.3f} | {share:.2f} | {like:.2f} |")


if __name__ == "__main__":
    main()
