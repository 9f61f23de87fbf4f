"""Runs and sweeps against several people: the rows, the summary, and the table beside papers."""

import json

import numpy as np
import pytest
from pyarrow import parquet

from attnprobe.data.bsds500 import Bsds500
from attnprobe.evaluate.people import people_scores
from attnprobe.evaluate.settings import MEASURES, best_settings, dataset_score
from attnprobe.pictures.labels import load_labels
from attnprobe.run.folder import RunFolder
from attnprobe.run.people import against_people
from attnprobe.run.results import Results
from tests.data import test_bsds500

FAST = ["--set", "probe={size: 64, timesteps: [60]}", "--no-cache"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bsds")
    test_bsds500.write(folder)
    return folder


@pytest.fixture(scope="module")
def sweep(root, tmp_path_factory):
    from attnprobe.cli import main

    recipe = tmp_path_factory.mktemp("recipe") / "people.yaml"
    recipe.write_text(
        "extends: diffseg\nname: people\nevaluate: {protocol: bsds}\n"
        f"images: {{use: bsds500, root: {root}}}\n"
        "sweep: {grid: {group.thresholds: [[0.3, 0.3], [0.6, 0.6], [0.9, 0.9]]}}\n"
    )
    folder = recipe.parent / "out"
    with pytest.raises(SystemExit) as ended:
        main(["run", str(recipe), *FAST, "-o", str(folder), "--quiet"])
    assert ended.value.code == 0
    return folder


def truth_of(root):
    return {sample.name: sample.truth() for sample in Bsds500(str(root))()}


def test_an_image_s_row_is_its_scores_against_people(root, sweep):
    truths = truth_of(root)
    for run in sorted((sweep / "points").iterdir()):
        rows = parquet.read_table(run / "scores.parquet").to_pylist()
        assert [row["image"] for row in rows] == sorted(truths)
        for row in rows:
            labels = load_labels(run / "labels" / f"{row['image']}.png")
            wanted = people_scores(labels, truths[row["image"]])
            assert {name: row[name] for name in vars(wanted)} == vars(wanted)
            assert row["covering"] == pytest.approx(wanted.covering, abs=1e-12)
            assert row["true_segments"] == np.mean(
                [np.unique(t).size for t in truths[row["image"]]]
            )
            assert row["valid"] == wanted.pixels
        loaded = Results.load(RunFolder(run))
        assert [vars(people) for people in loaded.people()] == [
            {name: row[name] for name in vars(people)}
            for people, row in zip(loaded.people(), rows, strict=True)
        ]
        summary = json.loads((run / "summary.json").read_text())
        assert summary["people"] == {m: dataset_score(m, loaded.people()) for m in MEASURES}
        assert summary["protocol"]["name"] == "bsds"


def test_a_sweep_is_a_method_and_its_points_the_settings(sweep):
    method = against_people(RunFolder(sweep))
    runs = sorted((sweep / "points").iterdir())
    best = best_settings({r.name[3:]: Results.load(RunFolder(r)).people() for r in runs})
    assert method.scores == {name: (each.ods, each.ois) for name, each in best.items()}
    assert (method.name, method.dataset, method.images, method.settings) == (
        "people",
        "bsds500",
        3,
        3,
    )
    assert method.setting == best["covering"].setting
    single = against_people(RunFolder(runs[0]))
    assert single.settings == 1
    assert all(ois is None for _, ois in single.scores.values())
    note = "its images are 3 of val, published figures are over the 200 of test"
    assert method.notes == (note,)


def test_leaderboard_shows_it_beside_published_ones(sweep, capsys):
    from attnprobe.cli import main

    for form in ("text", "markdown", "csv"):
        with pytest.raises(SystemExit) as ended:
            main(["leaderboard", str(sweep), "--format", form])
        assert not ended.value.code
        out = capsys.readouterr().out
        assert "gPb-owt-ucm" in out
        assert "mIoU" not in out
        assert out.count("measured") == 1
    rows = [line.split(",") for line in out.splitlines()]
    (mine,) = [row for row in rows if row[0] == "measured"]
    assert float(mine[3]) == against_people(RunFolder(sweep)).scores["covering"][0]
    with pytest.raises(SystemExit):
        main(["leaderboard", "--dataset", "bsds500"])
    assert "measured" not in capsys.readouterr().out


def test_published_figures_are_the_paper_s():
    from attnprobe.evaluate.published import published

    covering = {figure.method: figure.covering for figure in published().people}
    assert covering == {
        "people": (0.72, 0.72), "gPb-owt-ucm": (0.59, 0.65), "Mean Shift": (0.54, 0.58),
        "Felz-Hutt": (0.52, 0.57), "Canny-owt-ucm": (0.49, 0.55), "NCuts": (0.45, 0.53),
        "quad-tree": (0.32, 0.37),
    }  # fmt: skip


def test_another_protocol_takes_each_person_s_regions(root, tmp_path, capsys):
    from attnprobe.cli import main

    said = [f"images={{use: bsds500, root: {root}, count: 1}}", "evaluate={protocol: whole}"]
    changes = [word for each in said for word in ("--set", each)]
    with pytest.raises(SystemExit) as ended:
        main(["run", "diffseg", *FAST, *changes, "-o", str(tmp_path / "out")])
    assert ended.value.code == 0
    (row,) = parquet.read_table(tmp_path / "out/scores.parquet").to_pylist()
    truths = truth_of(root)[row["image"]]
    assert len(row["tp"]) == sum(np.unique(truth).size for truth in truths)
    assert row["valid"] == sum(truth.size for truth in truths)
    assert "pri" not in row
    assert against_people(RunFolder(tmp_path / "out")) is None


def test_predictions_of_any_program(root, sweep, capsys):
    from attnprobe.cli import main

    run = next((sweep / "points").iterdir())
    words = ["--dataset", "bsds500", "--root", str(root), "--protocol", "bsds"]
    table = sweep.parent / "scores.json"
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--predictions", str(run / "labels"), *words, "-o", str(table)])
    assert ended.value.code == 0
    assert "against people, all together: covering 0." in capsys.readouterr().out
    summary = json.loads((run / "summary.json").read_text())
    assert json.loads(table.read_text())["people"] == summary["people"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("probe={size: 64, fit: crop}", "bsds scores whole pictures, so probe.fit must be resize"),
        ("group={use: kmeans, clusters: truth}", "no truth, or with several people's"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(change, sentence, root, tmp_path, capsys):
    from attnprobe.cli import main

    images = f"images={{use: bsds500, root: {root}, count: 1}}"
    words = ["--set", images, "--set", "evaluate={protocol: bsds}", "--set", change]
    with pytest.raises(SystemExit) as ended:
        main(["run", "diffseg", *FAST, *words, "-o", str(tmp_path / "out")])
    assert ended.value.code
    told = capsys.readouterr()
    assert sentence in " ".join((told.out + told.err).split())
