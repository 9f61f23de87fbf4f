import re
import string

import pytest
from hypothesis import given, settings

from attnprobe.errors import RecipeError
from attnprobe.recipe import load_points, load_recipe
from attnprobe.recipe.annotated import annotated_yaml
from attnprobe.recipe.reader import to_yaml
from attnprobe.recipe.shipped import shipped
from tests.recipe.conftest import RECIPE
from tests.recipe.test_recipe import recipes
from tests.recipe.test_sweep import grids


def origins(text):
    """The last words of each line's key, and what its comment says."""
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"( *-? *[\w.]+): .*?  # (.*)", line)
        if match:
            found[match[1].strip(" -")] = match[2]
    return found


@pytest.mark.parametrize("name", list(shipped()))
def test_every_shipped_recipe_loads_back_equal(write, name):
    assert load_points(write(annotated_yaml(name))) == load_points(name)


@given(recipe=recipes)
@settings(deadline=None, max_examples=40)
def test_any_recipe_loads_back_equal(tmp_path_factory, recipe):
    path = tmp_path_factory.mktemp("show") / "recipe.yaml"
    recipe.save(path)
    path.write_text(annotated_yaml(path), encoding="utf-8")
    assert load_recipe(path) == recipe


@given(grid=grids)
@settings(deadline=None, max_examples=40)
def test_any_sweep_loads_back_to_equal_points(tmp_path_factory, grid):
    grid = {key: values[:2] for key, values in grid.items()}
    path = tmp_path_factory.mktemp("show") / "recipe.yaml"
    path.write_text(RECIPE + to_yaml({"sweep": {"grid": grid}}), encoding="utf-8")
    points = load_points(path)
    path.write_text(annotated_yaml(path), encoding="utf-8")
    assert load_points(path) == points


def test_a_sweep_over_components_and_entries_loads_back(write):
    sweep = "{group: [{variant: paper}, {anchors: 2}], group.thresholds.1: [2, 3],"
    sweep += " refine: [[], [{use: kmeans}]]}"
    path = write(f"{RECIPE}sweep: {{grid: {sweep}}}\n")
    points = load_points(path)
    assert load_points(write(annotated_yaml(path))) == points


def test_each_value_says_where_it_comes_from(write, tmp_path):
    write(name="base.yaml")
    path = write("extends: base.yaml\ngroup: {anchors: 4}\nrefine: {use: kmeans}\n", "child.yaml")
    changes = ["probe.prompt=a\nb", "group.thresholds.0=0.5"]
    text = annotated_yaml(path, changes).replace(f"{tmp_path}/", "")
    found = origins(text)
    assert found["anchors"] == "child.yaml:2"
    assert found["count"] == "base.yaml:3"
    assert found["variant"] == found["name"] == "default"
    assert found["prompt"] == "--set probe.prompt=a b"
    assert found["thresholds"] == "base.yaml:6, --set group.thresholds.0=0.5"
    assert "  - use: kmeans" in text
    assert load_recipe(write(text)) == load_recipe(path, changes)


def test_origins_are_aligned(write):
    lines = [line for line in annotated_yaml(write()).splitlines() if "  # " in line]
    assert len({line.index("  # ") for line in lines}) == 1
    long = annotated_yaml(write(), [f"probe.prompt={string.ascii_letters * 3}"]).splitlines()
    assert len({line.index("  # ") for line in long if "  # " in line}) == 2


def test_long_text_stays_on_its_line(write):
    change = f"probe.prompt={'a long word ' * 20}"
    (line,) = [
        line for line in annotated_yaml(write(), [change]).splitlines() if "a long word" in line
    ]
    value, origin = line.split("  # ")
    assert value.count("a long word") == 20
    assert origin.endswith("…")  # so long a place is cut


def test_what_a_sweep_gives_is_said_by_the_sweep_alone(write):
    text = annotated_yaml(write(f"{RECIPE}sweep: {{grid: {{group.variant: [paper, released]}}}}\n"))
    assert "  variant:" not in text
    assert "    group.variant:\n      - paper" in text


def test_a_recipe_with_faults_is_not_shown(write):
    with pytest.raises(RecipeError, match=r"group\.anchors: must be greater than or equal to 1"):
        annotated_yaml(write(), ["group.anchors=0"])
