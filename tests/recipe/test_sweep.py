import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe.errors import RecipeError
from attnprobe.recipe import load_points, load_recipe
from attnprobe.recipe.reader import to_yaml
from tests.recipe.conftest import RECIPE


def swept(kind, keys):
    return f"{RECIPE}sweep: {{{kind}: {keys}}}\n"


GRID = swept("grid", "{group.anchors: [8, 4], group.thresholds: [[0.5, 0.5], [0.7, 0.6]]}")


@pytest.fixture
def lines(write):
    """The lines that loading the points of a text ends in."""

    def lines(content, *overrides):
        path = write(content)
        with pytest.raises(RecipeError) as caught:
            load_points(path, overrides)
        return str(caught.value).replace(f"{path.parent}/", "").splitlines()

    return lines


def test_a_recipe_without_a_sweep_is_its_only_point(write):
    (point,) = load_points(write(), ["seed=3"])
    assert (point.label, point.values) == ("", {})
    assert point.recipe == load_recipe(write(), ["seed=3"])


def test_a_grid_is_the_product_in_order(write):
    points = load_points(write(GRID))
    got = [(point.recipe.group.anchors, point.recipe.group.thresholds) for point in points]
    assert got == [(8, (0.5, 0.5)), (8, (0.7, 0.6)), (4, (0.5, 0.5)), (4, (0.7, 0.6))]
    assert points[1].values == {"group.anchors": 8, "group.thresholds": [0.7, 0.6]}
    assert [point.label for point in points[:2]] == [
        "01-anchors=8-thresholds=0.5",
        "02-anchors=8-thresholds=0.7_0.6",
    ]


def test_zipped_lists_go_together(write):
    points = load_points(write(swept("zip", "{group.anchors: [8, 4], seed: [1, 2]}")))
    assert [(point.recipe.group.anchors, point.recipe.seed) for point in points] == [(8, 1), (4, 2)]


keys = {
    "seed": st.integers(0, 99),
    "group.anchors": st.integers(1, 64),
    "group.thresholds": st.lists(st.sampled_from([0.5, 0.75, 1.0]), min_size=1, max_size=3),
    "group.variant": st.sampled_from(["paper", "released"]),
    "probe.prompt": st.text(max_size=20),
    "probe.layers.kind": st.sampled_from(["self", "cross", None]),
    "model.dtype": st.sampled_from(["float16", "float32"]),
}
grids = st.fixed_dictionaries(
    {}, optional={k: st.lists(v, min_size=1, max_size=4, unique_by=repr) for k, v in keys.items()}
).filter(bool)


@given(grid=grids)
@settings(deadline=None, max_examples=60)
def test_a_point_is_the_recipe_with_its_values_set(tmp_path_factory, grid):
    """The oracle is the same change made with --set; labels are folders' names, one a point."""
    grid = {key: list(values) for key, values in grid.items()}
    folder = tmp_path_factory.mktemp("points")
    path, plain = folder / "trial.yaml", folder / "plain.yaml"
    count = math.prod(map(len, grid.values()))
    path.write_text(RECIPE + to_yaml({"sweep": {"grid": grid}}))
    plain.write_text(RECIPE)
    if count > 1000:
        with pytest.raises(RecipeError, match=r"points; a sweep has at most 1,000"):
            load_points(path)
        return
    points = load_points(path)
    assert len(points) == count
    for point in points[:5]:
        changes = [f"{key}={to_yaml(value)}" for key, value in point.values.items()]
        assert load_recipe(plain, changes) == point.recipe
    assert len({point.label.lower() for point in points}) == count
    for point in points:
        assert re.fullmatch(r"\d{2,4}-[\w.+=-]{1,77}", point.label, re.ASCII)
        (folder / point.label).mkdir()
    assert sorted(points, key=lambda point: point.label) == list(points)


def test_a_section_and_a_list_s_entry_may_be_swept(write):
    text = swept("grid", "{group: [{variant: paper}, {anchors: 2}], group.thresholds.1: [2, 3]}")
    points = load_points(write(text))
    assert [point.recipe.group.thresholds for point in points] == [(0.9, 2), (0.9, 3)] * 2
    assert [point.recipe.group.variant for point in points] == ["paper"] * 2 + ["released"] * 2
    labels = [point.label for point in points]
    assert labels[0] == "01-group=variant=paper-thresholds.1=2"


def test_refiners_and_equal_last_words_make_speaking_labels(write):
    text = swept("zip", "{refine: [[], {use: kmeans}], model.preset: [tiny, sd14], seed: [0, 1]}")
    first, second = load_points(write(text))
    assert (len(first.recipe.refine), len(second.recipe.refine)) == (0, 1)
    assert second.label == "02-refine=kmeans-preset=sd14-seed=1"
    text = swept("grid", "{group.use: [diffseg], aggregate.use: [multiscale]}")
    assert load_points(write(text))[0].label == "01-group.use=diffseg-aggregate.use=multiscale"


def test_values_of_one_name_are_told_apart_by_their_keys(write):
    text = swept(
        "zip",
        "{group: [{anchors: 8}, {use: kmeans, clusters: 6}, {use: kmeans, clusters: truth}, "
        "{use: kmeans, clusters: truth}], refine: [[], [], [], [{use: pamr}, {use: guided}]]}",
    )
    assert [point.label for point in load_points(write(text))] == [
        "01-group=anchors=8-refine=none",
        "02-group=kmeans_clusters=6-refine=none",
        "03-group=kmeans_clusters=truth-refine=none",
        "04-group=kmeans_clusters=truth-refine=pamr_guided",
    ]
    text = swept("grid", "{group.thresholds: [[0.5], [0.5, 0.5], [0.5, 0.6]]}")
    labels = [point.label for point in load_points(write(text))]
    assert labels == ["01-thresholds=0.5", "02-thresholds=0.5_0.5", "03-thresholds=0.5_0.6"]


def test_a_swept_recipe_is_no_single_one(write):
    with pytest.raises(RecipeError, match=r"yaml:9:1: sweep: makes several .* load_points reads"):
        load_recipe(write(GRID))


def test_a_sweep_replaces_that_of_the_recipe_it_extends(write):
    write(GRID, "base.yaml")
    assert len(load_points(write("extends: base.yaml\n", "child.yaml"))) == 4
    child = write("extends: base.yaml\nsweep: {zip: {seed: [4, 5]}}\n", "child.yaml")
    assert [point.recipe.seed for point in load_points(child)] == [4, 5]


@pytest.mark.parametrize(
    ("text", "word", "sentence"),
    [
        (swept("grid", "{group.anchors: [8, 0]}"), "0]}}", "group.anchors: must be greater than"),
        (swept("grid", "{group.ancors: [8, 4]}"), "group.anc", "group.ancors: unknown key; did"),
        (swept("grid", "{group.anchors: 8}"), "8}}", "sweep.grid: group.anchors: must be a list"),
        (swept("grid", "{group.anchors: []}"), "[]}}", "sweep.grid: group.anchors: must be a list"),
        (swept("grid", "{name: [a, b]}"), "name: [", "sweep.grid: name: can't be swept"),
        (swept("grid", "{images.count: [1]}"), "images.c", "sweep.grid: images.count: can't be s"),
        (swept("grid", "{gruop.anchors: [1]}"), "gruop", "can't be swept; did you mean group?"),
        (swept("grid", "{group..anchors: [1]}"), "group..", "can't be swept"),
        (swept("zip", "{group.anchors: [8, 4], seed: [1]}"), "{group.anchors: [8",
         "sweep.zip: lists must be equally long; group.anchors has 2, seed has 1"),
        (f"{RECIPE}sweep: {{group.anchors: [4, 8]}}\n", "{group.anchors: [4",
         "sweep: the keys that are swept stand under grid or zip, such as {grid: {group.anchors"),
        (swept("gird", "{seed: [1]}"), "gird", "sweep.gird: unknown key; did you mean grid?"),
        (swept("zip", "{}, grid: {seed: [1]}"), "{zip", "sweep: must be either a grid or a zip"),
        (RECIPE + "sweep: {grid: [1]}", "[1]", "sweep.grid: must be a mapping of keys to lists"),
        (RECIPE + "sweep:\n", "sweep:", "sweep: must be a grid or a zip, such as {grid: {group."),
        (swept("grid", "{seed: [4, 5, 4]}"), "4]}}",
         "sweep: seed: the points 01-seed=4 and 03-seed=4 are the same recipe"),
        (swept("grid", "{group.thresholds.2: [1]}"), "1]}}", "'2' is no index of a list"),
        (swept("grid", f"{{seed: {[*range(999)]}, group.anchors: [1, 2]}}"), "{grid",
         "sweep: 1,998 points; a sweep has at most 1,000"),
    ],
)  # fmt: skip
def test_a_fault_stands_at_its_own_place(lines, place, text, word, sentence):
    (line,) = lines(text)
    assert line.startswith(place(text, word))
    assert sentence in line


def test_faults_of_all_points_are_told_once(lines):
    text = swept("grid", "{group.anchors: [8, x, 0], seed: [1, -1]}").replace("size: 128", "sz: 1")
    assert len(lines(text)) == 4


@pytest.mark.parametrize("override", ["group.anchors=3", "group={anchors: 3}"])
def test_a_change_that_the_sweep_undoes_is_refused(lines, override):
    assert lines(GRID, override) == [
        f"--set {override}: changes nothing, for the recipe sweeps over this key"
    ]


def test_other_changes_are_made_to_all_points(write, lines):
    points = load_points(write(GRID), ["group.variant=paper", "seed=1", "seed=2"])
    assert {(point.recipe.group.variant, point.recipe.seed) for point in points} == {("paper", 2)}
    (line,) = lines(GRID, "sweep={grid: {seed: [1]}}")
    assert line.endswith("sweep: can only be said in the recipe's file")
