"""Mean covering of BSDS500's photographs by a recipe's segments, averaged over people.

    python benchmarks/bsds.py recipes/diffseg.yaml --root data/bsds500 --count 40
    python benchmarks/bsds.py diffseg --root data/bsds500 --set group.anchors=8

The root holds images/<split>/*.jpg and groundTruth/<split>/*.mat. Each photograph is scored at its
own size; its covering is the mean over the people who segmented it.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from attnprobe.cache import FieldCache
from attnprobe.evaluate import region_scores
from attnprobe.recipe import load_recipe


def people(path: Path) -> list[np.ndarray]:
    """The segmentations (H, W) of a .mat file, one a person."""
    cells = loadmat(path)["groundTruth"].ravel()
    return [cell["Segmentation"][0, 0].astype(np.int32) for cell in cells]


def main() -> None:
    """Print the mean covering, the segments found, and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipe")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--split", default="val", choices=["train", "val", "test"])
    parser.add_argument("--count", type=int)
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--cache", action="store_true", help="keep fields for the next time")
    args = parser.parse_args()
    pipeline = load_recipe(args.recipe, args.changes).build()
    if args.cache:
        pipeline = replace(pipeline, cache=FieldCache())
    pictures = sorted((args.root / "images" / args.split).glob("*.jpg"))[: args.count]
    start, coverings, counts = time.perf_counter(), [], []
    for picture in pictures:
        labels = pipeline.segment(picture).labels
        truths = people(args.root / "groundTruth" / args.split / f"{picture.stem}.mat")
        coverings.append(np.mean([region_scores(labels, truth).covering for truth in truths]))
        counts.append(np.unique(labels).size)
    error = np.std(coverings) / len(coverings) ** 0.5
    print(
        f"covering {np.mean(coverings):.4f} ± {error:.4f} over {len(pictures)} pictures, "
        f"{np.mean(counts):.1f} segments, {time.perf_counter() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
