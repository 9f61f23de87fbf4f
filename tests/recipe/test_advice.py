"""What an error suggests is taken: then the value is accepted, and means what was meant."""

import re
import warnings
from dataclasses import fields

import pytest
from ruamel.yaml import YAML

from attnprobe import load_recipe
from attnprobe.errors import RecipeError, SettingWarning
from attnprobe.recipe import Override
from attnprobe.recipe.keys import is_required, recipe_fields, type_hints
from attnprobe.registry import KINDS, entries

BASE = """\
model: {preset: tiny}
images: {use: photos}
aggregate: {use: multiscale}
group: {use: diffseg}
"""
SECTIONS = {
    "sources": "images",
    "aggregators": "aggregate",
    "groupers": "group",
    "refiners": "refine",
    "labellers": "label",
}


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    return path


def suggested(path, key, data):
    """The example in the message about a value, and the recipe that takes it (or None)."""
    change = Override.to(key, data, "--set it")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, [change])
    found = re.search(r"such as ([{\[].*?[}\]])(?:[;,.]| and|$)", str(caught.value), re.MULTILINE)
    if found is None:
        return str(caught.value), None
    example = YAML(typ="safe", pure=True).load(found[1])
    return example, load_recipe(path, [Override.to(key, example, "--set it")])


def test_one_timestep_is_a_list_of_one(base):
    example, recipe = suggested(base, "probe.timesteps", 60)
    assert example == [60]
    assert recipe.probe.timesteps == (60,)


def test_one_side_of_a_grid_is_that_of_a_square(base):
    example, recipe = suggested(base, "probe.layers.grid", 16)
    assert example == [16, 16]
    assert recipe.probe.layers.grid == (16, 16)


@pytest.mark.parametrize(
    ("key", "data", "example"),
    [
        ("probe.timesteps", 100, [100]),
        ("aggregate.grids", 32, [32]),
        ("model", "tiny", {"preset": "tiny"}),
        ("model", "sd41", {"preset": "sd21"}),
        ("model", "org/name", {"repo": "org/name"}),
        ("model", "nothing-like-it", {"preset": "tiny"}),
        ("probe", 512, {"size": 512}),
        ("probe.layers", "self", {"kind": "self"}),
        ("probe.layers", "up_blocks.*", {"names": "up_blocks.*"}),
        ("evaluate", "released", {"protocol": "released"}),
        ("evaluate", "per-image", {"match": "per-image"}),
        ("group", "kmeans", {"use": "kmeans"}),
        ("group", "difseg", {"use": "diffseg"}),
        ("group", 8, {"use": "agglomerative"}),
        ("images", "photos", {"use": "photos"}),
        ("images", "./mine", {"use": "folder", "path": "./mine"}),
        ("images", "cat.jpg", {"use": "folder", "path": "cat.jpg"}),
        ("images", "folder", {"use": "folder", "path": "PATH"}),
        ("refine", "min-area", {"use": "min-area"}),
    ],
)
def test_what_is_suggested_is_taken_and_means_it(base, key, data, example):
    given, recipe = suggested(base, key, data)
    assert given == example
    assert recipe is not None


def test_a_component_that_has_the_keys_given_is_suggested(tmp_path):
    path = tmp_path / "base.yaml"
    path.write_text(BASE.replace("{use: diffseg}", "{geometry: cosine}"))
    with pytest.raises(RecipeError, match=re.escape("such as {use: kmeans, geometry: cosine}")):
        load_recipe(path)


SCALARS = [3, 0.5, "word", True]

KEYS = [
    pytest.param(kind, entry, field.name, id=f"{entry.name}-{field.name}")
    for kind in KINDS
    for entry in entries(kind)
    if entry.package == "attnprobe"
    for field in recipe_fields(entry.component)
]


@pytest.mark.parametrize(("kind", "entry", "name"), KEYS)
def test_every_key_s_advice_leads_somewhere_good(base, kind, entry, name):
    """Each of a few scalars in its place: where a list is suggested, taking it ends the fault."""
    section = SECTIONS[kind]
    required = {f.name: f.name for f in fields(entry.component) if is_required(f)}
    for scalar in SCALARS:
        given = {"use": entry.name, **required, name: scalar}
        message = faults(base, section, given)
        found = re.search(rf"{name}: must be a list, such as (.*?); got", message)
        if found is not None:
            given[name] = YAML(typ="safe", pure=True).load(found[1])
            assert f"{section}.{name}" not in faults(base, section, given)
    assert name in type_hints(entry.component)


def faults(path, section, given) -> str:
    try:
        load_recipe(path, [Override.to(section, given, "--set it")])
    except RecipeError as error:
        return str(error)
    return ""


def test_words_that_no_stage_reads_are_told():
    given = ["probe.words=[star]", "probe.prompt=a red star"]
    with pytest.warns(SettingWarning, match=r"probe\.words: the aggregator reads no words"):
        load_recipe("diffseg", given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_recipe("diffseg", given[1:])
        load_recipe("diffseg", [*given, "probe.emphasis=1.6"])  # which scales their embeddings
        load_recipe("diffseg", [*given, "aggregate={use: cross}", "group={use: argmax}"])
