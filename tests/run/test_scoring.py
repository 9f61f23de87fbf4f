"""How a run scores: over a dataset's classes or each image's objects, and under which protocol."""

import io
import json
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
from pyarrow import parquet
from rich.console import Console

from attnprobe import registry
from attnprobe.data.base import Classes
from attnprobe.data.scenes import Scenes
from attnprobe.errors import RecipeError
from attnprobe.evaluate import HungarianMetric, Protocol, Scorer, image_scores, region_scores
from attnprobe.pictures.labels import load_labels
from attnprobe.run.compare import compare
from attnprobe.run.results import Results
from attnprobe.view.terminal.comparison import show_comparison
from attnprobe.view.terminal.runs import show_results
from tests.run.conftest import assert_equal_runs

NAMES = ("ground", "disc", "thing", "thing")


def coarse(truth):
    return truth() % 4 - (truth() == 3)  # 3 becomes class 2, so that class 3 is rare


@pytest.fixture(autouse=True)
def classed(monkeypatch):
    """A source of scenes with four classes, two of one name."""
    for kind in registry.KINDS:
        registry.entries(kind)
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    @registry.source("classed")
    @dataclass(frozen=True)
    class Classed(Scenes):
        """Scenes in four classes."""

        classes = Classes(NAMES)

        def __call__(self):
            return [replace(s, truth=partial(coarse, s.truth)) for s in super().__call__()]

    return Classed


CLASSED = "images={use: classed, count: 5}"


def rows(done):
    return parquet.read_table(done.folder.path / "scores.parquet").to_pylist()


def test_with_classes_counts_are_over_them_and_pooled(run, classed):
    done = run(CLASSED)
    list(done)
    total = HungarianMetric(4)
    for row, sample in zip(rows(done), classed(count=5)(), strict=True):
        one = HungarianMetric(4)
        one.update(load_labels(done.folder.labels(sample.name)), sample.truth())
        scores = one.compute()
        assert [row["tp"], row["fp"], row["fn"]] == scores.counts.tolist()
        assert (row["acc"], row["miou"], row["valid"]) == (scores.acc, scores.miou, scores.valid)
        total.merge(one)
    summary = json.loads((done.folder.path / "summary.json").read_text())
    scores = total.compute()
    assert summary["classes"] == list(NAMES)
    assert (summary["pooled"]["acc"], summary["pooled"]["miou"]) == (scores.acc, scores.miou)
    iou = dict(zip(("ground", "disc", "thing (2)", "thing (3)"), scores.iou, strict=True))
    assert summary["pooled"]["iou"] == {
        name: None if np.isnan(value) else value for name, value in iou.items()
    }
    text = io.StringIO()
    show_results(done.results, Console(width=200, file=text))
    said = f"over 4 classes): ACC {scores.acc:.3f}, mIoU {scores.miou:.3f}\n"
    assert said in text.getvalue()


def test_agreement_of_regions_is_in_the_rows_and_their_means_in_the_summary(run):
    done = run()
    list(done)
    found = rows(done)
    for row, sample in zip(found, Scenes(count=3)(), strict=True):
        regions = region_scores(load_labels(done.folder.labels(sample.name)), sample.truth())
        for name in ("ari", "nmi", "boundary_f", "covering", "segments", "true_segments"):
            assert row[name] == getattr(regions, name)
    mean = json.loads((done.folder.path / "summary.json").read_text())["mean"]
    assert mean["ari"] == pytest.approx(np.mean([row["ari"] for row in found]))
    assert mean["true_segments"] == np.mean([row["true_segments"] for row in found])


def test_at_the_protocol_s_size_proposals_are_enlarged_and_labels_stay_as_they_are(run):
    done = run("evaluate.protocol=released", "probe.fit=crop", fit="crop")
    list(done)
    for row, sample in zip(rows(done), Scenes(count=3)(), strict=True):
        assert load_labels(done.folder.labels(sample.name)).shape == (128, 128)
        labels = done.pipeline.segment(sample.read()).resized((512, 512)).labels
        truth = sample.truth().repeat(4, 0).repeat(4, 1)
        scores = image_scores(labels, truth)
        assert [row["tp"], row["fp"], row["fn"]] == scores.counts.tolist()
        assert row["valid"] == 512 * 512
        assert row["boundary_f"] == region_scores(labels, truth).boundary_f


def test_the_truth_of_a_crop_is_resized_as_the_released_program_does(run):
    (sample,) = Scenes(count=1)()
    truth = np.random.default_rng(0).integers(0, 3, (128, 128))
    sample = replace(sample, truth=lambda: truth)
    recipe = ["evaluate.size=48", "evaluate.match=majority", "group.min_area=0"]
    done = run(*recipe, samples=[sample])
    list(done)
    index = (2 * np.arange(48) + 1) * 128 // 96
    labels = done.pipeline.segment(sample.read()).resized((48, 48)).labels
    expected = image_scores(labels, truth[index[:, None], index], Protocol("m", "majority"))
    assert rows(done)[0]["tp"] == expected.tp.tolist()


@pytest.mark.parametrize("count", [1, 4])
def test_a_stopped_run_with_classes_ends_with_the_bytes_of_an_unbroken_one(run, tmp_path, count):
    overrides = (CLASSED, "evaluate={protocol: diffcut-voc}", "probe.fit=crop")
    whole = run(*overrides, fit="crop", output=tmp_path / "whole")
    list(whole)
    started = run(*overrides, fit="crop")
    outcomes = iter(started)
    for _ in range(count):
        next(outcomes)
    outcomes.close()
    assert len(list(run(*overrides, fit="crop", resume=True))) == 5 - count
    assert_equal_runs(whole.folder.path, started.folder.path)
    found = Results.load(whole.folder)
    assert found.scorer == whole.results.scorer
    assert found.scorer.names == NAMES
    assert found.summary() == whole.results.summary()


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["evaluate.match=per-dataset"], "a run numbers them anew in each"),
        (["evaluate.protocol=released"], "so probe.fit must be crop. Got resize instead"),
        (["evaluate={match: foreground, background: 0}"], "no fixed list of classes"),
        (["images=[{use: scenes}, {use: classed}]"], "Got no in Scenes and 4 in Classed"),
    ],
)
def test_what_can_t_be_scored_is_refused_before_anything_is_written(
    run, tmp_path, overrides, sentence
):
    with pytest.raises(RecipeError, match=sentence):
        run(*overrides)
    assert list((tmp_path / "run").iterdir()) == []


def test_runs_with_classes_are_compared_by_their_scores_over_all_images(run, tmp_path):
    first = run(CLASSED, output=tmp_path / "first")
    second = run(CLASSED, "group.thresholds=[0.3]", output=tmp_path / "second")
    list(first), list(second)
    found = compare([first.folder.path, second.folder.path])
    pooled = [done.results.pooled() for done in (first, second)]
    for row, scores in zip(found.rows, pooled, strict=True):
        assert (row.means["acc"], row.means["miou"]) == (scores.acc, scores.miou)
    difference = found.rows[1].differences["miou"]
    assert difference.value == pooled[1].miou - pooled[0].miou
    assert difference.low < difference.value < difference.high
    assert found.notes == ()


def test_runs_that_were_scored_otherwise_are_told_apart(run, tmp_path):
    first = run(output=tmp_path / "first")
    second = run("evaluate.match=majority", output=tmp_path / "second")
    list(first), list(second)
    found = compare([first.folder.path, second.folder.path])
    (note,) = found.notes
    said = "was scored otherwise: whole, changed: match majority"
    assert note.startswith(f"{second.folder.path} {said}")
    text = io.StringIO()
    show_comparison(found, Console(width=80, file=text))
    assert note in text.getvalue()


def test_a_summary_of_an_earlier_version_is_read(run):
    done = run()
    list(done)
    place = done.folder.path / "summary.json"
    summary = json.loads(place.read_text())
    del summary["protocol"], summary["classes"]
    place.write_text(json.dumps(summary))
    assert Results.load(done.folder).scorer == Scorer()
