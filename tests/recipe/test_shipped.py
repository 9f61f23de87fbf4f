from dataclasses import replace

import pytest

from attnprobe import registry
from attnprobe.cache import FieldCache
from attnprobe.errors import AttnProbeError, RecipeError
from attnprobe.fields import AttentionField
from attnprobe.recipe import load_points
from attnprobe.recipe.shipped import MODELINE, copy_shipped, shipped
from attnprobe.run.sweep import pipeline_for
from attnprobe.stages import takes


@pytest.mark.parametrize("name", list(shipped()))
def test_a_copy_is_the_recipe_without_the_editor_s_line(tmp_path, name):
    first, *_ = copied = copy_shipped(name, tmp_path)
    assert all(path.parent == tmp_path for path in copied)
    assert load_points(tmp_path / f"{name}.yaml") == load_points(name)
    ours = shipped()[first.stem].read_text().splitlines()
    assert first.read_text().splitlines() == [s for s in ours if not s.startswith(MODELINE)]
    assert len(first.read_text().splitlines()) == len(ours) - 1


def test_a_copy_may_have_a_name_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(path) for path in copy_shipped("diffseg.yaml")] == ["diffseg.yaml"]
    assert [path.name for path in copy_shipped("diffseg", tmp_path / "mine.yaml")] == ["mine.yaml"]


def test_the_recipe_that_is_extended_comes_along_once(tmp_path):
    names = [path.name for path in copy_shipped("tau-sweep", tmp_path)]
    assert names == ["diffseg.yaml", "tau-sweep.yaml"]
    assert [p.name for p in copy_shipped("tau-sweep", tmp_path / "mine.yaml")] == ["mine.yaml"]


@pytest.mark.parametrize("taken", ["tau-sweep.yaml", "diffseg.yaml"])
def test_nothing_is_overwritten_and_then_nothing_is_written(tmp_path, taken):
    (tmp_path / taken).write_text("mine")
    with pytest.raises(RecipeError, match=rf"{taken}: is there already; name another place"):
        copy_shipped("tau-sweep", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "mine"


def test_a_link_to_nowhere_is_not_overwritten_either(tmp_path):
    (tmp_path / "diffseg.yaml").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RecipeError, match="is there already"):
        copy_shipped("diffseg", tmp_path)


def test_an_unknown_name_and_a_missing_folder_are_told(tmp_path):
    with pytest.raises(RecipeError, match=r"no recipe 'difseg' is shipped; did you mean diffseg"):
        copy_shipped("difseg", tmp_path)
    with pytest.raises(AttnProbeError, match="can't be written: No such file"):
        copy_shipped("diffseg", tmp_path / "none" / "x.yaml")


def test_the_template_for_a_folder_needs_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (point,) = load_points("folder-of-photos")
    with pytest.raises(AttnProbeError, match="my-photos: no such file"):
        point.recipe.samples()


def test_the_sweep_has_twelve_points_over_eight_scenes():
    points = load_points("tau-sweep")
    assert len({point.recipe.group.thresholds for point in points}) == len(points) == 12
    assert {len(point.recipe.samples()) for point in points} == {8}
    only = {(p.recipe.probe, p.recipe.model, p.recipe.aggregate, p.recipe.seed) for p in points}
    assert len(only) == 1  # so that one pass an image serves all
    assert points[0].label == "01-thresholds=0.6"


def test_the_leaderboard_has_every_grouper_on_the_same_pictures():
    points = load_points("leaderboard-scenes")
    samples = points[0].recipe.samples()
    assert len(samples) == len({sample.name for sample in samples}) == 600
    assert len({repr((p.recipe.probe, p.recipe.model, p.recipe.aggregate)) for p in points}) == 1
    used = {type(point.recipe.group) for point in points}
    ours = {
        entry.component
        for entry in registry.entries("groupers")
        if AttentionField in takes(entry.component) and entry.package == "attnprobe"
    }
    assert used == ours
    assert len({point.label for point in points}) == len(points)


class Counting(FieldCache):
    """A cache that counts how often a field was computed for it."""

    computed = 0

    def put(self, key, field):
        self.computed += 1
        super().put(key, field)


def test_the_leaderboard_s_pictures_go_through_the_model_once(tmp_path, monkeypatch):
    """Over all of its points there is one cached field a picture, and no other pass is made."""
    monkeypatch.setenv("ATTNPROBE_CACHE", str(tmp_path / "cache"))
    few = [f"images.{style}.count=1" for style in range(3)]
    points = load_points("leaderboard-scenes", [*few, "probe.size=64"])
    pipeline = replace(points[0].recipe.build(), cache=Counting())
    for before, point in zip([points[0], *points], points, strict=False):
        pipeline = pipeline_for(point.recipe, before.recipe, pipeline)
        for sample in point.recipe.samples():
            pipeline.segment(sample.read(), sample.truth())
    assert pipeline.cache.computed == len(FieldCache().entries()) == 3
