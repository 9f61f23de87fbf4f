"""Every number a component takes, at the ends of what its type allows: it works or is refused.

The ends are read off the components' own schemas. What depends on the image (the number of a
layer, the side of a grid) may be refused when it is met, in a sentence.
"""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from attnprobe import AttentionField, AttnProbeError, Segmentation
from attnprobe.evaluate.protocol import Protocol
from attnprobe.label.subject import Subject
from attnprobe.recipe.json_schema import leaf
from attnprobe.recipe.keys import recipe_fields, type_hints
from attnprobe.registry import entries
from attnprobe.stages import takes
from attnprobe.testing.samples import sample_fields, sample_layers, sample_words

MET = ("layer", "grids")
"""Keys whose values an image may refuse."""

ALSO = {
    ("agglomerative", "distance"): {"clusters": "distance"},
    ("crf", "iterations"): {"side": 2},
    ("kmeans", "candidates"): {"clusters": "silhouette"},
    ("ncut", "exponent"): {"affinity": "features"},
    ("sklearn", ""): {"estimator": "DBSCAN"},
    ("spectral", "candidates"): {"clusters": "eigengap"},
    ("threshold", "at"): {"word": "cat"},
}
"""What makes a key count."""


def ends(schema: dict) -> list:
    """The least and the most that a schema of numbers allows, far out where it has no bound."""
    if "anyOf" in schema:
        return [end for branch in schema["anyOf"] for end in ends(branch)]
    kind = schema.get("type")
    if kind == "array":
        if "prefixItems" in schema:
            return [list(pair) for pair in zip(*map(ends, schema["prefixItems"]), strict=True)]
        return [[end] * count for end in ends(schema.get("items", {})) for count in (1, 9)]
    if kind == "integer":
        return [schema.get("minimum", -(10**30)), schema.get("maximum", 10**30)]
    if kind == "number":
        least = schema.get("minimum", -1e308)
        most = schema.get("maximum", 1e308)
        if "exclusiveMinimum" in schema:
            least = math.nextafter(schema["exclusiveMinimum"], math.inf)
        if "exclusiveMaximum" in schema:
            most = math.nextafter(schema["exclusiveMaximum"], -math.inf)
        return [least, most, math.inf, math.nan]
    return []


CASES = [
    pytest.param(kind, entry, field.name, end, id=f"{entry.name}-{field.name}-{end}"[:60])
    for kind in ("aggregators", "groupers", "refiners", "labellers")
    for entry in entries(kind)
    if entry.package == "attnprobe"
    for field in recipe_fields(entry.component)
    for end in ends(leaf(type_hints(entry.component)[field.name]))
]


def answer(kind: str, component):
    """What the component makes of an ordinary picture."""
    rng = np.random.default_rng(0)
    if kind == "aggregators":
        needs = getattr(component, "needs", frozenset({"maps"}))
        return component(sample_layers(needs)["several grids"])
    field = sample_words()["two words"]
    if AttentionField in takes(component):
        field = sample_fields()["blobs"]
    if kind == "groupers":
        return component(field, rng=rng, truth=np.eye(16, 16, dtype=int))
    picture = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    if kind == "labellers":
        size = (field.grid[0], field.grid[1])
        maps = sample_words()["two words"]
        subject = Subject(picture, lambda text, words: maps, "a cat and a dog", classes=maps.words)
        return component(Segmentation(np.eye(*size, dtype=int)), subject, rng=rng)
    halves = Segmentation(np.repeat([[0, 1]], 4, axis=1).repeat(8, axis=0))
    return component(halves, field, rng=rng, image=picture)


@pytest.mark.parametrize(("kind", "entry", "key", "end"), CASES)
def test_it_works_or_its_type_refuses_it(kind, entry, key, end):
    also = {**ALSO.get((entry.name, ""), {}), **ALSO.get((entry.name, key), {})}
    try:
        component = entry.component(**{**also, key: end})
    except AttnProbeError:
        assert end in (math.inf, [math.inf]) or "nan" in str(end) or "inf" in str(end)
        return
    try:
        found = answer(kind, component)
    except AttnProbeError:
        assert key in MET
        return
    if isinstance(found, Segmentation):
        assert found.resized((9, 11)).labels.min() >= 0
    else:
        assert torch.isfinite(getattr(found, "rows", getattr(found, "maps", None))).all()


@pytest.mark.parametrize("given", [{"size": 10**30}, {"size": 0}])
def test_sizes_that_no_memory_holds(given):
    with pytest.raises(AttnProbeError, match="size: "):
        Protocol("mine", **given)


@pytest.mark.parametrize("maps", [torch.full((1, 2, 2), math.nan), torch.zeros(2, 2)])
def test_proposals_that_say_nothing_are_refused(maps):
    with pytest.raises(AttnProbeError, match="proposals must be finite, of shape"):
        Segmentation(np.zeros((2, 2), int), maps)
