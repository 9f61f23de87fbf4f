from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from annotated_types import Ge

from attnprobe.recipe import load_recipe
from attnprobe.registry import grouper
from tests.recipe.conftest import RECIPE

KEYS = "name, model, images, probe, aggregate, group, refine, label, evaluate, seed, extends, sweep"


def changed(old, new):
    assert old in RECIPE
    return RECIPE.replace(old, new)


def test_an_unknown_key_is_told_with_its_place_and_the_nearest(faults, place):
    text = changed("thresholds:", "treshold:")
    assert faults(text) == [
        f"{place(text, 'treshold')}: group.treshold: unknown key; did you mean thresholds? "
        "allowed: use, anchors, thresholds, variant, refine, places, min_area"
    ]


@pytest.mark.parametrize(
    ("old", "new", "path", "sentence"),
    [
        ("anchors: 16", "anchors: '16'", "group.anchors", 'must be a whole number; got "16"'),
        ("anchors: 16", "anchors: '16'", "group.anchors", '"16", which the quotes make text'),
        ("{preset: tiny}", "preset:tiny", "model", '"preset:tiny", where a space is missing after'),
        ("anchors: 16", "anchors: 16.5", "group.anchors", "must be a whole number; got 16.5"),
        ("anchors: 16", "anchors: true", "group.anchors", "must be a whole number; got true"),
        ("anchors: 16", "anchors: 0", "group.anchors", "must be greater than or equal to 1; got 0"),
        ("anchors: 16", "anchors: ~", "group.anchors", "must be a whole number; got nothing"),
        ("timesteps: [300]", "timesteps: 300", "probe.timesteps", "a list, such as [300]; got"),
        ("[0.9, 0.8]", "-0.9", "group.thresholds", "greater than 0"),
        ("[0.9, 0.8]", "[]", "group.thresholds", "must be a list of at least 1"),
        ("kind: self", "kind: sefl", "probe.layers.kind", "must be 'self', 'cross', 'joint' or"),
        ("{kind: self}", "self", "probe.layers", 'a mapping such as {kind: self}; got "self"'),
        ("kind: self", "where: ~", "probe.layers.where", "unknown key; allowed: kind, names, b"),
        ("size: 128", "size: 128, noise: 1", "probe.noise", "must be true or false; got 1"),
        ("seed: 7", "seed: -1", "seed", "must be greater than or equal to 0; got -1"),
        ("seed: 7", "seed: 4294967296", "seed", "must be less than 4294967296"),
        ("name: trial", "name: ../trial", "name", "must be a word of letters"),
        ("name: trial", "name: [a]", "name", 'must be text; got ["a"]'),
        ("{preset: tiny}", "tiny", "model", 'such as {preset: tiny}; got "tiny"; allowed: preset'),
        ("{preset: tiny}", "{preset: tinny}", "model.preset", "unknown preset 'tinny'; did you"),
        ("{preset: tiny}", "{preset: tiny, repo: a/b}", "model", "preset or a repo, and not both"),
        ("{use: multiscale}", "multiscale", "aggregate", "such as {use: multiscale}; got"),
        ("use: diffseg", "use: difseg", "group.use", "unknown grouper 'difseg'; did you mean"),
        ("use: scenes", "use: [scenes]", "images.use", "must be a word; got"),
        ("{use: scenes, count: 3}", "[{use: scenes}, 4]", "images.1", "must be a mapping such as"),
        ("{use: scenes, count: 3}", "[]", "images", "at least one source"),
        ("refine: []", "refine: [{use: blur}]", "refine.0.use", "unknown refiner 'blur'"),
        ("seed: 7", "evaluate: {match: hungarian}", "evaluate.match", "must be 'per-image'"),
        ("seed: 7", "evaluate: per-image", "evaluate", "mapping such as {match: per-image};"),
        ("seed: 7", "evaluate: hungarian", "evaluate", 'a mapping of keys; got "hungarian"; allow'),
        ("{use: scenes, count: 3}", "{use: folder}", "images", "path is missing: a file, pattern"),
        ("seed: 7", "sed: 7", "sed", f"unknown key; did you mean seed? allowed: {KEYS}"),
    ],
)  # fmt: skip
def test_every_fault_has_a_path_and_a_sentence(faults, old, new, path, sentence):
    (line,) = faults(changed(old, new))
    assert f": {path}: " in line
    assert sentence in line


def test_a_value_s_fault_points_at_the_value(faults, place):
    text = changed("0.8]", "-3]")
    assert faults(text) == [
        f"{place(text, '-3')}: group.thresholds.1: must be greater than 0; got -3"
    ]


def test_all_faults_are_told_at_once(faults, place):
    text = changed("anchors: 16", "anchors: many").replace("size: 128", "szie: 128")
    text = text.replace("seed: 7", "seed: x\nseed: 8\nmore: 1")
    starts = [place(text, word) for word in ("szie", "many", "x\nseed", "seed: 8", "more")]
    assert [line.partition(": ")[0] for line in faults(text)] == starts


def test_a_missing_key_is_told_with_an_example(faults):
    text = changed("group:", "seed:").replace("seed: 7\n", "")
    lines = faults(text)
    assert any(
        "the key group is missing; add, for example, group: {use: diffseg}" in line
        for line in lines
    )


def test_plug_ins_are_checked_like_ours(faults, write):
    @grouper("stripes")
    @dataclass(frozen=True)
    class Stripes:
        """Stripes."""

        width: Annotated[int, Ge(1)]
        clusters: Annotated[int, Ge(1)] | Literal["truth"] = "truth"

        def __post_init__(self):
            if self.width == 13:
                raise KeyError("unlucky")

    def stripes(keys):
        return changed("use: diffseg, anchors: 16, thresholds: [0.9, 0.8]", f"use: stripes{keys}")

    assert load_recipe(write(stripes(", width: 2"))).group == Stripes(2, "truth")
    assert "group: the key width is missing" in faults(stripes(""))[0]
    assert "group.width: KeyError: 'unlucky'" in faults(stripes(", width: 13"))[0]
    (line,) = faults(stripes(", width: 1, clusters: few"))
    assert line.endswith("group.clusters: must be a whole number or 'truth'; got \"few\"")


def test_what_is_absurdly_long_is_cut_short(faults):
    (line,) = faults(RECIPE + "x" * 5000 + ": 1\n")
    assert len(line) < 1100
    (line,) = faults(changed("seed: 7", f"seed: {list(range(1000))}"))
    assert line.endswith("...")


def test_a_scalar_is_taken_as_text_where_text_is_wanted(write):
    text = changed("name: trial", "name: 2024-01-01").replace("size: 128", "prompt: 8")
    recipe = load_recipe(write(text))
    assert (recipe.name, recipe.probe.prompt) == ("2024-01-01", "8")
