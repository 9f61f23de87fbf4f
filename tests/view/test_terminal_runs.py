import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from attnprobe.evaluate import image_scores
from attnprobe.run.folder import RunFolder
from attnprobe.run.outcome import Outcome
from attnprobe.run.results import Results
from attnprobe.view.terminal.runs import SHOWN, show_results

TRUTH = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]])
HALF = image_scores(np.array([[0, 0, 0, 1]] * 3), TRUTH)


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """What is printed of some outcomes at a width."""
    monkeypatch.chdir(tmp_path)

    def shown(*outcomes, width=80):
        results = Results(RunFolder(Path("runs/trial/now")), "trial", [o.image for o in outcomes])
        results.take(outcomes)
        file = io.StringIO()
        show_results(results, Console(width=width, file=file))
        return file.getvalue()

    return shown


def done(image, seconds=0.5, scores=None, cut=None):
    return Outcome(image, f"{image}.png", seconds, segments=2, scores=scores, cut=cut)


def test_a_row_an_image_and_their_mean(shown):
    lines = shown(done("a", 0.25, HALF), done("b", 0.75)).splitlines()
    assert lines[0].split() == ["image", "segments", "seconds", "ACC", "mIoU"]
    assert lines[2].split() == ["a", "2", "0.25", "0.750", "0.583"]
    assert lines[3].split() == ["b", "2", "0.75", "–", "–"]
    assert lines[5].split() == ["mean", "2.0", "0.50", "0.750", "0.583"]
    assert lines[-3:] == [
        "run folder  runs/trial/now",
        "labels      runs/trial/now/labels",
        "overlays    runs/trial/now/overlays",
    ]


def test_without_truth_there_are_no_scores_and_one_image_has_no_mean(shown):
    text = shown(done("a"))
    assert "ACC" not in text
    assert "mean" not in text


def test_of_many_images_the_first_are_shown_and_that_is_said(shown):
    lines = shown(*(done(f"image-{i}") for i in range(SHOWN + 5))).splitlines()
    assert sum(line.startswith("image-") for line in lines) == SHOWN
    assert f"the first {SHOWN} of {SHOWN + 5} images" in "\n".join(lines)


def test_every_failure_has_its_sentence_up_to_a_bound(shown):
    failed = [Outcome(f"x{i}", f"x{i}.jpg", 0, error=f"x{i}.jpg: broken") for i in range(SHOWN + 3)]
    other = Outcome("y", "y.jpg", 0, error="ZeroDivisionError: by zero")
    lines = shown(other, *failed).splitlines()
    assert lines[:2] == ["failed  y.jpg: ZeroDivisionError: by zero", "failed  x0.jpg: broken"]
    assert lines[SHOWN] == "… and 4 more, in failures.jsonl"
    assert lines[-1] == "run folder  runs/trial/now"


def test_what_was_cut_is_said_once_for_images_of_one_size(shown):
    text = shown(done("a", cut="fit: crop cut 1"), done("b", cut="fit: crop cut 1"), done("c"))
    assert "2 images: fit: crop cut 1\n" in text
    assert "a: fit: crop cut 2\n" in shown(done("a", cut="fit: crop cut 2"))


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_folds_names_and_nothing_else(shown, width):
    name = "[red]a very long name[/] " + "on_and_" * 12 + "日本.x"
    text = shown(done(name, scores=HALF), done("b"), width=width)
    table = text.partition("\n\n")[0].splitlines()
    assert all(len(line) <= width for line in table)
    columns = table[0].split()
    assert columns == ["image", "segments", "seconds", "ACC", "mIoU"]
    start = table[0].index("segments")
    folded = "".join(line[:start].strip() for line in table[2:] if not line.startswith("b "))
    assert name.replace(" ", "") in folded.replace(" ", "")
