"""Leaderboards: whose rows, in which order, with which warnings, and in every form."""

import csv
import io
import json
import os
import re
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attnprobe.cli import main
from attnprobe.errors import AttnProbeError
from attnprobe.evaluate.leaderboard import LeaderboardEntry, leaderboard_tables
from attnprobe.evaluate.published import Conditions, published
from attnprobe.view.terminal.leaderboard import comma_separated, markdown, plot_leaderboard

RELEASED = Conditions("per-image", 512, True)
WHOLE = Conditions("per-image", 0, False)


def entry(method="mine", miou=44.0, dataset="coco-stuff-27", **more):
    given = {"conditions": RELEASED, "images": 2175, "scored": 2175, "acc": 70.0} | more
    return LeaderboardEntry(method, dataset, miou, source="runs/mine", measured=True, **given)


entries = st.lists(
    st.builds(
        entry,
        method=st.text("ab|é, ", min_size=1, max_size=4).map(str.strip).filter(bool),
        miou=st.floats(0, 100),
        dataset=st.sampled_from(["coco-stuff-27", "cityscapes-27", "scenes", "a + b"]),
        conditions=st.sampled_from([RELEASED, WHOLE]),
        acc=st.none() | st.floats(0, 100),
        segments=st.none() | st.floats(1, 99),
    ),
    max_size=6,
)


@given(entries)
@settings(max_examples=40, deadline=None)
def test_every_row_stands_once_beside_all_published_ones_sorted_by_miou(measured):
    tables = leaderboard_tables(measured)
    wanted = list(dict.fromkeys(e.dataset for e in measured)) or list(
        dict.fromkeys(figure.dataset for figure in published().figures)
    )
    assert len(tables) == len(wanted)
    for table, dataset in zip(tables, wanted, strict=True):
        mious = [e.miou for e in table.entries]
        assert mious == sorted(mious, reverse=True)
        ours = [e for e in measured if e.dataset == dataset]
        assert sorted(e.method for e in table.entries if e.measured) == sorted(
            e.method for e in ours
        )
        theirs = {(e.method, e.acc, e.miou) for e in table.entries if not e.measured}
        assert theirs == {(f.method, f.acc, f.miou) for f in published().on(dataset)}
        marks = {(table.mark(e), e.conditions) for e in table.entries}
        assert len({mark for mark, _ in marks}) == len(marks) == len(table.conditions)
    rows = list(csv.DictReader(io.StringIO(comma_separated(tables))))
    flat = [e for table in tables for e in table.entries]
    assert [(r["method"], float(r["miou"]), r["kind"]) for r in rows] == [
        (e.method, e.miou, "measured" if e.measured else "published") for e in flat
    ]
    for table in tables:
        lines = [line for line in markdown(table).splitlines() if line.startswith("|")]
        assert len(lines) == 2 + len(table.entries)
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


@pytest.mark.parametrize(
    ("row", "warnings"),
    [
        (entry(dataset="scenes", images=8, scored=8), []),
        (entry(dataset="scenes", images=8, scored=7), ["mine: 7 of the run's 8 images scored"]),
        (
            entry(dataset="cityscapes-27", conditions=Conditions("per-image", 128, True),
                  images=50, scored=50),
            ["protocols differ (the size, the crop): only rows with the same letter compare",
             "mine: its images are 50, published figures are over 500"],
        ),
    ],
)  # fmt: skip
def test_what_keeps_rows_apart_is_said(row, warnings):
    (table,) = leaderboard_tables([row])
    assert list(table.warnings) == warnings


@pytest.mark.parametrize(
    ("conditions", "differing"),
    [
        (RELEASED, None),
        (Conditions("majority", 512, True), "how segments are matched"),
        (Conditions("per-image", 0, True), "the size"),
        (Conditions("per-image", 512, False), "the crop"),
        (Conditions("majority", 0, False), "how segments are matched, the size, the crop"),
    ],
)
def test_two_runs_under_different_protocols_are_told_apart(conditions, differing):
    rows = [entry(dataset="scenes"), entry(dataset="scenes", conditions=conditions)]
    (table,) = leaderboard_tables(rows)
    said = f"protocols differ ({differing}): only rows with the same letter compare"
    assert list(table.warnings) == ([] if differing is None else [said])


def test_one_dataset_is_picked_and_an_unknown_one_refused():
    rows = [entry(dataset="scenes"), entry()]
    assert [t.title for t in leaderboard_tables(rows, "coco-stuff-27")] == ["COCO-Stuff-27"]
    assert [t.title for t in leaderboard_tables([], "cityscapes-27")] == ["Cityscapes-27"]
    with pytest.raises(
        AttnProbeError, match=r"'scene' .*; did you mean scenes\? allowed: scenes, "
    ):
        leaderboard_tables(rows, "scene")


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_a_plot_shows_every_row(tmp_path, suffix):
    path = tmp_path / f"board{suffix}"
    plot_leaderboard(leaderboard_tables([entry("méthode | 1", 61.25)]), path)
    if suffix == ".svg":
        text = path.read_text()  # glyphs are paths, with what they say in comments
        assert {"<!-- DiffSeg (512) -->", "<!-- méthode | 1 -->"} <= set(
            re.findall("<!-- .*? -->", text)
        )
    elif suffix == ".pdf":
        assert path.read_bytes().startswith(b"%PDF")
    else:
        pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
        blue = (pixels == (0, 0x72, 0xB2)).all(1).sum()
        grey = (pixels == (0xB4, 0xB4, 0xB4)).all(1).sum()
        # Bars' areas are as their values: ours against the sum of all others.
        others = sum(figure.miou for figure in published().on("coco-stuff-27"))
        assert blue / grey == pytest.approx(61.25 / others, rel=0.05)


def test_a_plot_of_another_kind_is_refused(tmp_path):
    with pytest.raises(AttnProbeError, match=r"board\.txt: must end in \.png or \.pdf or \.svg"):
        plot_leaderboard(leaderboard_tables([]), tmp_path / "board.txt")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def attnprobe(tmp_path, monkeypatch, capsys):
    """Run the command line in an empty folder; exit status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def attnprobe(*arguments):
        with mock.patch.dict(os.environ), pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return attnprobe


SWEEP = """
extends: diffseg.yaml
images: {use: scenes, split: validation, count: 2}
probe: {size: 64}
sweep: {zip: {group: [{use: kmeans, clusters: 4}, {use: kmeans, clusters: truth}]}}
"""


def test_runs_are_rows_with_their_own_numbers(attnprobe, tmp_path):
    (tmp_path / "two.yaml").write_text(SWEEP)
    attnprobe("run", "two.yaml", "-o", "sweep", "--quiet")
    one = ["--set", "images=[{use: scenes, count: 1}, {use: photos}]", "--set", "probe.size=64"]
    attnprobe("run", "diffseg", *one, "-o", "one", "--quiet")
    status, out, err = attnprobe("leaderboard", "sweep", "one", "--format", "csv")
    assert (status, err) == (0, "warning: diffseg: 1 of the run's 3 images scored\n")
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(out))}
    assert set(rows) == {"group=kmeans_clusters=4", "group=kmeans_clusters=truth", "diffseg"}
    for row in rows.values():
        summary = json.loads((tmp_path / row["source"] / "summary.json").read_text())
        assert float(row["miou"]) == 100 * summary["mean"]["miou"]
        assert float(row["acc"]) == 100 * summary["mean"]["acc"]
        assert float(row["segments"]) == summary["mean"]["segments"]
        assert (row["model"], row["kind"], row["match"]) == ("tiny", "measured", "per-image")
    assert rows["diffseg"]["dataset"] == "scenes + photos"
    assert (rows["diffseg"]["images"], rows["diffseg"]["scored"]) == ("3", "1")
    status, out, err = attnprobe("leaderboard", "sweep", "--plot", "board.png")
    assert (status, err) == (0, "")
    first, _, _, *shown = out.splitlines()
    assert first == "scenes, in percent"
    best = sorted((r for r in rows.values() if r["dataset"] == "scenes"),
                  key=lambda row: -float(row["miou"]))  # fmt: skip
    assert [line.split()[:3] for line in shown[:2]] == [
        [row["method"], "measured", f"{float(row['miou']):.1f}"] for row in best
    ]
    assert (tmp_path / "board.png").is_file()


def test_what_is_no_scored_run_is_a_sentence(attnprobe):
    given = ["--set", "images={use: photos}", "--set", "probe.size=64"]
    attnprobe("run", "diffseg", *given, "-o", "photos", "--quiet")
    said = "photos: no row of a leaderboard, for none of its images has a score\n"
    assert attnprobe("leaderboard", "photos") == (2, "", f"error: {said}")
    assert attnprobe("leaderboard", "nowhere") == (2, "", "error: nowhere: no such folder\n")
    one = ["--set", "images={use: scenes, count: 1}", "--set", "probe.size=64"]
    attnprobe("run", "diffseg", *one, "-o", "one", "--quiet")
    status, out, err = attnprobe("leaderboard", "one", "photos")
    assert (status, err) == (0, f"note: {said}")
    assert "diffseg  measured" in out


def test_without_runs_all_that_is_published_is_shown(attnprobe):
    status, out, err = attnprobe("leaderboard", "--format", "markdown")
    assert (status, err) == (0, "")
    assert out.count("| published |") == len(published().figures) + len(published().people)
    assert "| DiffSeg (512) | published | 43.6 | 72.5 |" in out
    assert "- warning: protocols differ" in out
