import pytest

from attnprobe.recipe import load_recipe
from tests.recipe.conftest import RECIPE

TWO_SOURCES = RECIPE.replace("{use: scenes, count: 3}", "[{use: photos}, {use: scenes, count: 3}]")


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("group.anchors=8", lambda r: r.group.anchors, 8),
        ("group.thresholds=[0.8]", lambda r: r.group.thresholds, (0.8,)),
        ("group.thresholds.1=1", lambda r: r.group.thresholds, (0.9, 1.0)),
        ("group.variant=paper", lambda r: r.group.variant, "paper"),
        ("probe.layers.names=[up_blocks.*]", lambda r: r.probe.layers.names, ("up_blocks.*",)),
        ("probe.layers={kind: cross}", lambda r: r.probe.layers.kind, "cross"),
        ("probe.prompt=", lambda r: r.probe.prompt, ""),
        ("probe.prompt=7=8", lambda r: r.probe.prompt, "7=8"),
        ("images.0.count=4", lambda r: r.sources[0].count, 4),
        ("evaluate.match=per-image", lambda r: r.evaluate.match, "per-image"),
        ("model.dtype=float16", lambda r: (r.model.preset, r.model.dtype), ("tiny", "float16")),
    ],
)
def test_a_value_is_yaml_and_typed_by_the_schema(write, override, read, expected):
    text = RECIPE.replace("{use: scenes, count: 3}", "[{use: scenes, count: 3}]")
    assert read(load_recipe(write(text), [override])) == expected


def test_overrides_change_nothing_else_and_the_last_one_counts(write):
    plain = load_recipe(write())
    recipe = load_recipe(write(), ["seed=1", "seed=2"])
    assert recipe.resolved() == {**plain.resolved(), "seed": 2}


@pytest.mark.parametrize(
    ("override", "rest"),
    [
        ("gruop.anchors=8", "gruop: unknown key; did you mean group?"),
        ("group.ancors=8", "group.ancors: unknown key; did you mean anchors?"),
        ("group.anchors=many", 'group.anchors: must be a whole number; got "many"'),
        ("images.1.cuont=4", "images.1.cuont: unknown key; did you mean count?"),
        ("images.2.count=4", "'2' is no index of a list; allowed: 0 to 1"),
        ("images.count=4", "'count' is no index of a list; allowed: 0 to 1"),
        ("seed.x=4", 'seed: must be a whole number; got {"x": 4}'),
        ("group.anchors=[1", "not valid YAML"),
        ("group.anchors", "must be key=value, such as group.anchors=8"),
        ("group..anchors=8", "must be key=value"),
        ("=8", "must be key=value"),
        ("extends=diffseg", "extends: can only be said in the recipe's file"),
    ],
)
def test_a_fault_shows_what_was_said(faults, override, rest):
    (line,) = faults(TWO_SOURCES, override)
    assert line.startswith(f"--set {override}: {rest}")


def test_faults_of_the_file_and_of_overrides_come_together(faults, place):
    text = RECIPE.replace("seed: 7", "sed: 7")
    lines = faults(text, "group.ancors=8", "nonsense")
    starts = ("--set nonsense: ", f"{place(text, 'sed')}: ", "--set group.ancors=8: ")
    assert len(lines) == 3
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))


def test_another_component_starts_without_the_old_one_s_keys(write, faults):
    recipe = load_recipe(write(), ["images.use=photos", "model.repo=org/name"])
    assert type(recipe.sources[0]).__name__ == "Photos"
    assert (recipe.model.preset, recipe.model.repo) == (None, "org/name")
    kept = load_recipe(write(), ["images={use: scenes, start: 5}"]).sources[0]
    assert (kept.count, kept.start) == (3, 5)


def test_a_change_leaves_the_place_of_what_it_doesn_t_change(faults):
    text = RECIPE.replace("group:", "# group:")
    assert faults(text, "seed=1")[0].startswith("trial.yaml:1:1: the key group is missing")
