from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe.aggregate.multiscale import Multiscale
from attnprobe.data.photos import Photos
from attnprobe.data.scenes import Scenes
from attnprobe.errors import AttnProbeError, ComponentError, RecipeError
from attnprobe.group.diffseg import DiffSeg
from attnprobe.hooks import Layers
from attnprobe.models import ModelSpec
from attnprobe.probe import Probe
from attnprobe.recipe import Recipe, load_recipe
from tests.recipe.conftest import RECIPE, SECTIONS

positive = st.floats(0, 1e9, exclude_min=True)
recipes = st.builds(
    Recipe,
    name=st.from_regex(r"[a-zA-Z0-9_é][\w.+-]{0,20}", fullmatch=True),
    model=st.builds(ModelSpec, preset=st.just("tiny"), dtype=st.sampled_from([None, "float16"]))
    | st.builds(ModelSpec, repo=st.text(min_size=1), revision=st.none() | st.text(min_size=1)),
    sources=st.lists(
        st.builds(Photos) | st.builds(Scenes, count=st.integers(1, 100_000)), min_size=1, max_size=3
    ),
    aggregate=st.builds(Multiscale),
    group=st.builds(DiffSeg, thresholds=st.lists(positive, min_size=1, max_size=4)),
    probe=st.builds(
        Probe,
        size=st.none() | st.integers(8, 8192),
        prompt=st.text(),
        layers=st.builds(Layers, names=st.lists(st.text(), max_size=3)),
    ),
    seed=st.integers(0, 2**32 - 1),
)


@given(recipe=recipes)
@settings(deadline=None, max_examples=60)
def test_a_saved_recipe_loads_back_equal(tmp_path_factory, recipe):
    path = tmp_path_factory.mktemp("saved") / "recipe.yaml"
    recipe.save(path)
    assert load_recipe(path) == recipe
    assert load_recipe(path).resolved() == recipe.resolved()


def test_a_resolved_recipe_has_every_key_and_default(write):
    resolved = load_recipe(write()).resolved()
    assert list(resolved) == SECTIONS
    assert resolved["images"] == {
        "use": "scenes", "split": "test", "count": 3, "start": 0, "style": "as-is",
    }  # fmt: skip
    assert resolved["probe"]["layers"] == {
        "kind": "self", "names": [], "block": None, "grid": None, "index": [], "heads": [],
        "top_heads": None,
    }  # fmt: skip
    assert resolved["group"]["thresholds"] == [0.9, 0.8]
    assert resolved["evaluate"] == {
        "protocol": "whole", "match": None, "size": None, "background": None,
    }  # fmt: skip


def test_a_recipe_is_frozen_and_checked_however_it_is_made(write):
    recipe = load_recipe(write())
    with pytest.raises(FrozenInstanceError):
        recipe.seed = 1
    with pytest.raises(ComponentError, match=r"Recipe\.seed"):
        replace(recipe, seed=-1)


def test_samples_come_in_order_under_names_of_their_own(write):
    sources = "[{use: scenes, count: 2}, {use: photos}, {use: scenes, start: 1, count: 2}]"
    recipe = load_recipe(write(RECIPE.replace("{use: scenes, count: 3}", sources)))
    names = [sample.name for sample in recipe.samples()]
    assert names[2:4] == ["china", "flower"]
    assert names[4] == f"{names[1]}-2"
    assert len(set(names)) == 6


def test_a_component_that_has_no_name_can_t_be_saved(write, tmp_path):
    class Unknown:
        """Not registered."""

    recipe = replace(load_recipe(write()), group=Unknown())
    with pytest.raises(RecipeError, match="Unknown is not registered among the groupers"):
        recipe.save(tmp_path / "recipe.yaml")
    assert not (tmp_path / "recipe.yaml").exists()


def test_a_recipe_that_can_t_be_written_is_told(write, tmp_path):
    with pytest.raises(AttnProbeError, match="can't be written"):
        load_recipe(write()).save(tmp_path / "nowhere" / "recipe.yaml")


def test_a_notebook_shows_the_recipe_s_yaml(write):
    shown = load_recipe(write(), ["probe.prompt=<b> & c"])._repr_html_()
    assert "&lt;b&gt; &amp; c" in shown
    assert "use: diffseg" in shown
