"""The JSON Schema and the recipe checker say the same.

They differ by nature in this: the schema sees parsed values, so it doesn't know how a number was
written (`16.0` is a whole number to it, `-0` as a name a fine one), it can't look into the recipe
that is extended, nor run what a component checks in its `__post_init__`.
"""

import functools
import json
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from annotated_types import Ge
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from attnprobe import registry
from attnprobe.errors import RecipeError
from attnprobe.recipe import load_points
from attnprobe.recipe.json_schema import LISTS, STAGES, _required, recipe_schema, schema_text
from attnprobe.recipe.keys import recipe_fields
from attnprobe.recipe.reader import read_file, to_yaml
from attnprobe.recipe.shipped import MODELINE, first_comment, folder, shipped
from attnprobe.recipe.tree import Faults
from attnprobe.registry import grouper
from tests.recipe.test_recipe import recipes


@pytest.fixture(autouse=True)
def _ours_alone(monkeypatch, _own_registry):
    ours = {k: e for k, e in registry._entries.items() if e.package == "attnprobe"}
    monkeypatch.setattr(registry, "_entries", ours)


@functools.cache
def validator():
    return Draft202012Validator(recipe_schema())


def faults(data):
    return [error.message for error in validator().iter_errors(data)]


def test_it_is_a_schema_and_the_one_that_ships():
    Draft202012Validator.check_schema(recipe_schema())
    shipped_one = (folder() / "recipe.schema.json").read_text(encoding="utf-8")
    assert shipped_one == schema_text(), "attnprobe schema -o recipes/recipe.schema.json"


@pytest.mark.parametrize("path", shipped().values(), ids=lambda path: path.stem)
def test_shipped_recipes_are_valid_and_tell_editors(path):
    assert faults(read_file(path, Faults()).plain()) == []
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert f"{MODELINE} $schema=recipe.schema.json" in head[1:]
    assert MODELINE not in first_comment(path)


@given(recipe=recipes)
@settings(deadline=None, max_examples=40)
def test_what_a_recipe_resolves_to_is_valid(recipe):
    assert faults(recipe.resolved()) == []


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2**33)
    | st.sampled_from([0.5, -1.5, 1e9 + 0.5])  # 1e9 is whole to JSON, and a float to YAML
    | st.sampled_from(["", "8", "tiny", "self", "per-image", "diffseg", "a/b", "released", "-x"])
)
WHOLE = {
    "name": "trial",
    "model": {"preset": "tiny"},
    "images": [{"use": "scenes", "count": 3}, {"use": "photos"}],
    "probe": {"size": 128, "timesteps": [300], "layers": {"kind": "self", "names": []}},
    "aggregate": {"use": "multiscale"},
    "group": {"use": "diffseg", "anchors": 16, "thresholds": [0.9, 0.8]},
    "refine": [{"use": "kmeans"}],
    "evaluate": {"match": "per-image"},
    "seed": 7,
}
KEYS = [*WHOLE, "use", "preset", "repo", "dtype", "fit", "noise", "prompt", "grid", "index"]
KEYS += ["block", "where", "path", "split", "style", "variant", "weights", "match", "extra", "size"]
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(data, path=()):
    yield path
    if isinstance(data, dict | list):
        for key, item in data.items() if isinstance(data, dict) else enumerate(data):
            yield from places(item, (*path, key))


@st.composite
def edited(draw):
    """A recipe with one to three of its values replaced, removed or added."""
    data = json.loads(json.dumps(WHOLE))
    for _ in range(draw(st.integers(1, 3))):
        spots = [path for path in places(data) if path]
        *outer, last = draw(st.sampled_from(spots))
        inside = data
        for key in outer:
            inside = inside[key]
        change = draw(st.sampled_from(["replace", "remove", "add"]))
        if change == "remove":
            del inside[last]
        elif change == "add" and isinstance(inside, dict):
            inside[draw(st.sampled_from(KEYS))] = draw(values)
        else:
            inside[last] = draw(values)
        if not data:
            break
    return data


def checker(tmp_path_factory, data):
    """What the recipe checker has to say of plain data."""
    path = tmp_path_factory.mktemp("edited") / "trial.yaml"
    path.write_text(to_yaml(data), encoding="utf-8")
    try:
        load_points(path)
    except RecipeError as error:
        return str(error)
    return ""


COMPONENTS = [
    pytest.param(section, entry, listed, base, id=f"{entry.name}-{listed}-{base}")
    for section, kind in STAGES.items()
    for entry in registry.entries(kind)
    for listed in ([False, True] if section in LISTS else [False])
    for base in ("whole", "extends")
    if entry.package == "attnprobe"
]


@pytest.mark.parametrize(("section", "entry", "listed", "base"), COMPONENTS)
def test_a_fault_names_its_component(section, entry, listed, base):
    """The only fault that is found is in the component that `use` names, and its title says so."""
    data = {**WHOLE} if base == "whole" else {"extends": "diffseg.yaml"}
    fit = {"estimator": "DBSCAN"}
    required = {key: fit.get(key, "x") for key in _required(entry.component) if key != "use"}
    wrong = {"use": entry.name, **required, "nonsense": 1}
    data[section] = [wrong] if listed else wrong
    (fault,) = validator().iter_errors(data)
    assert fault.schema["title"] == f"{entry.kind}.{entry.name}"
    assert "'nonsense' was unexpected" in fault.message
    for field in recipe_fields(entry.component):
        wrong = {"use": entry.name, **required, field.name: {"no": {"such": "value"}}}
        data[section] = [wrong] if listed else wrong
        for fault in validator().iter_errors(data):
            if fault.absolute_path[-1] == field.name:  # not within its value
                assert fault.schema["title"] == f"{entry.kind}.{entry.name}.{field.name}"


@pytest.mark.parametrize("base", [WHOLE, {"extends": "diffseg.yaml"}])
def test_an_unknown_component_is_told_the_known_ones(base):
    (fault,) = validator().iter_errors({**base, "group": {"use": "difseg", "anchors": 8}})
    assert list(fault.absolute_path) == ["group", "use"]
    assert "'difseg' is not one of ['agglomerative', 'argmax', 'diffseg'" in fault.message
    (fault,) = validator().iter_errors({**base, "group": 8})
    assert fault.message == "8 is not of type 'object'"


@given(data=edited())
@example(data={**WHOLE, "images": []})
@example(data={**WHOLE, "model": {"preset": None, "repo": "a/b"}})
@example(data={**WHOLE, "model": {"preset": "tiny", "repo": "a/b"}})
@example(data={**WHOLE, "model": {"preset": "tinny"}})
@example(data={**WHOLE, "name": -1})
@example(data={**WHOLE, "probe": {"layers": {"grid": [8]}}})
@example(data={**WHOLE, "images": {"use": "folder", "path": []}})
@example(data={**WHOLE, "images": {"use": "folder", "path": 7}})
@settings(deadline=None, max_examples=300)
def test_both_refuse_the_same(tmp_path_factory, data):
    said = checker(tmp_path_factory, data)
    assert bool(said) == bool(faults(data)), (said, faults(data))


sweeps = st.dictionaries(
    st.sampled_from(["grid", "zip", "gird"]),
    st.dictionaries(
        st.sampled_from(["seed", "group.anchors", "probe.layers.kind", "model.preset", "group.x",
                         "name", "images.count", "group..anchors", "aggregate.weights"]),
        st.lists(scalars, max_size=1) | scalars,
        max_size=2,
    )
    | scalars,
    max_size=2,
)  # fmt: skip


@given(sweep=sweeps)
@example(sweep={"grid": {"group": [{"use": "diffseg", "anchors": 0}]}})
@example(sweep={"grid": {"group": [{"anchors": 4}]}})
@example(sweep={"grid": {"refine": [[], [{"use": "kmeans"}]]}})
@example(sweep={"grid": {"group.thresholds.0": [0.5]}})
@settings(deadline=None, max_examples=200)
def test_both_refuse_the_same_sweeps(tmp_path_factory, sweep):
    data = {**WHOLE, "sweep": sweep}
    said = checker(tmp_path_factory, data)
    assert bool(said) == bool(faults(data)), (said, faults(data))


def test_a_recipe_that_extends_may_be_partial():
    assert faults({"extends": "diffseg", "group": {"anchors": 8}}) == []
    assert faults({"extends": "diffseg", "group": {"ancors": 8}}) != []
    assert faults({"group": {"anchors": 8}}) != []
    assert faults({"extends": ""}) != []


def test_plug_ins_are_in_it_with_their_docstrings():
    @grouper("stripes")
    @dataclass(frozen=True)
    class Stripes:
        """Stripes.

        Args:
            width: of a stripe.
        """

        width: Annotated[int, Ge(1)]
        clusters: Annotated[int, Ge(1)] | Literal["truth"] = "truth"
        odd: complex | None = None

    schema = recipe_schema()
    Draft202012Validator.check_schema(schema)
    keys = schema["$defs"]["groupers.stripes"]["properties"]
    assert keys["width"] == {
        "title": "groupers.stripes.width",
        "minimum": 1,
        "type": "integer",
        "description": "of a stripe.",
    }
    assert keys["clusters"]["default"] == "truth"
    for group, valid in [
        ({"use": "stripes", "width": 2}, True),
        ({"use": "stripes", "width": 2, "clusters": "few"}, False),
        ({"use": "stripes"}, False),
        ({"use": "stripes", "width": 2, "anchors": 8}, False),
    ]:
        recipe = {**WHOLE, "group": group}
        assert Draft202012Validator(schema).is_valid(recipe) == valid
