"""The settings of each grouper in recipes/leaderboard-scenes.yaml, chosen on validation scenes.

    python benchmarks/choose_settings.py
    python benchmarks/choose_settings.py --only ncut dbscan

Every setting below is tried on 32 scenes of the validation split, the three styles in turn; the
best mean mIoU is marked and is what the recipe has. The test split, on which docs/leaderboard.md
reports, is never looked at.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from PIL import Image

import attnprobe as ap
from attnprobe.cache import FieldCache
from attnprobe.data.scenes import Style, make_scene
from attnprobe.evaluate import image_scores
from attnprobe.recipe import load_recipe
from attnprobe.recipe.reader import in_a_line

STYLES: tuple[Style, ...] = get_args(Style)

Setting = dict[str, Any]


def taus(*values: float) -> list[Setting]:
    """DiffSeg with the same threshold in each of three passes."""
    return [{"use": "diffseg", "thresholds": [tau] * 3} for tau in values]


def each(base: Setting, **keys: list[Any]) -> list[Setting]:
    """A setting for each combination of the keys' values."""
    found = [base]
    for key, values in keys.items():
        found = [{**setting, key: value} for setting in found for value in values]
    return found


def sklearn(estimator: str, on: str = "rows", **params: list[Any]) -> list[Setting]:
    """A clusterer of scikit-learn with each combination of its parameters."""
    chosen = each({}, **params)
    return [{"use": "sklearn", "estimator": estimator, "on": on, "params": p} for p in chosen]


GEOMETRY = ["euclidean", "cosine", "kl"]
RANGES = [[2, 12], [3, 8]]
LINKAGE = [
    {"metric": "kl", "linkage": "average"},
    {"metric": "kl", "linkage": "complete"},
    {"metric": "euclidean", "linkage": "average"},
    {"metric": "euclidean", "linkage": "ward"},
]
REFINED = {"use": "diffseg", "thresholds": [0.7] * 3}

TRIED: dict[str, list[Setting]] = {
    "diffseg": taus(0.5, 0.58, 0.66, 0.7, 0.74, 0.78, 0.82, 0.9),
    "diffseg, refined": [
        {**REFINED, "refine": [{"use": name} for name in names]}
        for names in (["pamr"], ["guided"], ["pamr", "guided"], ["min-area", "pamr", "guided"])
    ],
    "kmeans, 6": each({"use": "kmeans", "clusters": 6}, geometry=GEOMETRY),
    "kmeans, true number": each({"use": "kmeans", "clusters": "truth"}, geometry=GEOMETRY),
    "kmeans, silhouette": each(
        {"use": "kmeans", "clusters": "silhouette"}, geometry=GEOMETRY, candidates=RANGES
    ),
    "spectral, 6": each({"use": "spectral", "clusters": 6}, assign=["kmeans", "qr"]),
    "spectral, true number": each(
        {"use": "spectral", "clusters": "truth"}, assign=["kmeans", "qr"]
    ),
    "spectral, eigengap": each(
        {"use": "spectral", "clusters": "eigengap"}, assign=["kmeans", "qr"], candidates=RANGES
    ),
    "ncut": each({"use": "ncut"}, threshold=[0.35, 0.4, 0.45, 0.5], exponent=[1.0])
    + each({"use": "ncut"}, threshold=[0.15, 0.2, 0.25, 0.3], exponent=[1.5, 2.0]),
    "kway-ncut": each({"use": "kway-ncut"}, kappa=[0.45, 0.5], exponent=[1.0])
    + each({"use": "kway-ncut"}, kappa=[0.2, 0.225, 0.25, 0.275], exponent=[1.5])
    + each({"use": "kway-ncut"}, kappa=[0.08, 0.1, 0.125], exponent=[2.0]),
    "agglomerative, 6": [{"use": "agglomerative", "clusters": 6, **how} for how in LINKAGE],
    "agglomerative, true number": [
        {"use": "agglomerative", "clusters": "truth", **how} for how in LINKAGE
    ],
    "agglomerative, distance": each(
        {"use": "agglomerative", "clusters": "distance"}, distance=[1.0, 1.25, 1.5, 1.75, 2.0]
    )
    + each(
        {"use": "agglomerative", "clusters": "distance", "linkage": "complete"},
        distance=[2.0, 3.0, 4.0],
    ),
    "dbscan": sklearn(
        "DBSCAN", "distance", eps=[0.1, 0.15, 0.2, 0.25, 0.3, 0.4], min_samples=[8, 16, 32]
    ),
    "hdbscan": sklearn("HDBSCAN", "distance", min_cluster_size=[8, 16, 32, 64], min_samples=[2, 8]),
    "birch, 6": sklearn("Birch", n_clusters=[6], threshold=[0.01, 0.015, 0.02, 0.03]),
    "gaussian mixture, 6": sklearn(
        "GaussianMixture",
        n_components=[6],
        covariance_type=["diag", "spherical"],
        reg_covar=[1e-8, 1e-7, 1e-6],
    ),
}
"""What is tried, by method; a setting is a recipe's `group`, and `refine` where it has one."""


def mean_miou(pictures: list[Any], pipeline: ap.Pipeline) -> float:
    """Percent, over the pictures."""
    found = [
        image_scores(pipeline.cut(attention, truth).labels, truth).miou
        for attention, truth in pictures
    ]
    return 100 * float(np.mean(found))


def pipelines(settings: list[Setting], base: ap.Pipeline) -> Iterator[ap.Pipeline]:
    """The base pipeline with each setting in its place."""
    for setting in settings:
        group = {key: value for key, value in setting.items() if key != "refine"}
        changes = [f"group={in_a_line(group)}", f"refine={in_a_line(setting.get('refine', []))}"]
        recipe = load_recipe("diffseg", changes)
        yield replace(base, group=recipe.group, refine=recipe.refine)


def main() -> None:
    """Print a table of what was tried, method by method."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=32, help="validation scenes")
    parser.add_argument("--only", nargs="+", default=list(TRIED), choices=list(TRIED))
    args = parser.parse_args()
    base = replace(load_recipe("diffseg").build(), cache=FieldCache())
    pictures = []
    for number in range(args.scenes):
        scene = make_scene("validation", number, STYLES[number % len(STYLES)])
        pictures.append((base.attention(Image.fromarray(scene.image)), scene.labels))
    print("| method | setting | mIoU |  |\n|---|---|---:|---|")
    for method in args.only:
        found = [mean_miou(pictures, each) for each in pipelines(TRIED[method], base)]
        for setting, miou in zip(TRIED[method], found, strict=True):
            mark = "chosen" if miou == max(found) else ""
            print(f"| {method} | `{in_a_line(setting)}` | {miou:.1f} | {mark} |", flush=True)


if __name__ == "__main__":
    main()
