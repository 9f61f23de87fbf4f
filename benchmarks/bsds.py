"""BSDS500's photographs cut by recipes, and by classical methods on colours, against people.

    python benchmarks/bsds.py recipes/diffseg.yaml --root data/bsds500 --count 40
    python benchmarks/bsds.py diffseg best --root data/bsds500 --baselines --full

The root is that of the source `bsds500`. A recipe is one setting, and told no number of segments;
the classical methods have several each, of which ODS takes the best for all photographs. First
comes the mean over photographs of the mean covering over people; --full adds the benchmark's own
scores, with boundaries, which take half a second a photograph and setting.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

import attnprobe as ap
from attnprobe.cache import FieldCache
from attnprobe.data.base import Sample, each_person
from attnprobe.data.bsds500 import Bsds500
from attnprobe.evaluate.people import People, people_scores
from attnprobe.evaluate.settings import MEASURES, best_settings
from attnprobe.recipe import load_recipe

Segment = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Print a line a method."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipes", nargs="*")
    parser.add_argument("--root", required=True)
    parser.add_argument("--split", default="val", choices=["train", "val", "test"])
    parser.add_argument("--count", type=int)
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--cache", action="store_true", help="keep fields for the next time")
    parser.add_argument("--baselines", action="store_true", help="classical methods on colours")
    parser.add_argument("--full", action="store_true", help="PRI, VI and boundary F too")
    args = parser.parse_args()
    samples = Bsds500(args.root, args.split, args.count)()
    methods: dict[str, Callable[[], dict[str, Segment]]] = {
        name: partial(recipe, name, args.changes, args.cache) for name in args.recipes
    }
    if args.baselines:
        from colour_methods import METHODS

        methods |= {name: lambda settings=settings: settings for name, settings in METHODS.items()}
    for name, settings in methods.items():
        print(f"{name}: {measured(settings(), samples, args.full)}", flush=True)


def recipe(name: str, changes: list[str], cached: bool) -> dict[str, Segment]:
    """A recipe as a method of one setting."""
    pipeline: ap.Pipeline = load_recipe(name, changes).build()
    if cached:
        pipeline = replace(pipeline, cache=FieldCache())
    return {"": lambda picture: pipeline.segment(picture).labels}


def measured(settings: dict[str, Segment], samples: list[Sample], full: bool) -> str:
    """Score a method's settings, in words."""
    start, found, counts = time.perf_counter(), {name: [] for name in settings}, {}
    for sample in samples:
        picture, truths = np.asarray(sample.read()), each_person(sample.truth())
        for name, segment in settings.items():
            labels = segment(picture)
            counts.setdefault(name, []).append(np.unique(labels).size)
            found[name].append(people_scores(labels, truths) if full else regions(labels, truths))
    means = {name: np.mean([image.covering for image in of]) for name, of in found.items()}
    chosen = max(means, key=means.__getitem__)
    spread = np.std([image.covering for image in found[chosen]]) / len(samples) ** 0.5
    said = f"covering {means[chosen]:.4f} ± {spread:.4f} over {len(samples)} pictures"
    said += f", {np.mean(counts[chosen]):.1f} segments"
    said += f", {chosen} of {len(settings)} settings" if chosen else ""
    best = best_settings(found)
    for measure in MEASURES if full else MEASURES[:1]:
        said += f"; {measure} ODS {best[measure].ods:.3f} OIS {best[measure].ois:.3f}"
    return f"{said}; {time.perf_counter() - start:.0f} s"


def regions(labels: np.ndarray, truths: tuple[np.ndarray, ...]) -> People:
    """Covering alone."""
    from attnprobe.evaluate.matching import count_overlaps
    from attnprobe.evaluate.regions import covering_of

    overlaps = [count_overlaps(labels, truth, int(truth.max()) + 1) for truth in truths]
    covered = math.fsum(covering_of(each) * each.valid for each in overlaps)
    nothing = (math.nan, math.nan, 0, 0, 0, 0)
    return People(covered, sum(each.valid for each in overlaps), *nothing)


if __name__ == "__main__":
    main()
