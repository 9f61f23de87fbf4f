import math

import numpy as np
import pytest

from attnprobe.errors import RunError
from attnprobe.evaluate import Scores
from attnprobe.run.compare import compare
from attnprobe.run.folder import RunFolder
from attnprobe.run.outcome import Outcome
from attnprobe.run.results import Results


def outcome(image, right=None, segments=2, error=None):
    """An image of 100 pixels in one class, so many of them right; without truth if None."""
    scores = None
    if right is not None:
        scores = Scores.from_counts(np.array([[right], [0], [100 - right]]), 100)
    return Outcome(image, image, 1.0, None if error else segments, scores, error=error)


@pytest.fixture
def made(tmp_path):
    """The folder of a run with such outcomes."""

    def made(name, *outcomes):
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        folder.write_json("images.json", [o.image for o in outcomes])
        for file in ("recipe.yaml", "environment.json"):
            (folder.path / file).touch()
        results = Results(folder, "made", [o.image for o in outcomes])
        results.take(outcomes)
        results.write()
        return folder.path

    return made


def test_only_images_that_all_have_done_count_and_they_are_paired(made):
    first = made("first", *(outcome(f"i{n}", 40 + n) for n in range(30)), outcome("x", 0))
    second = made("second", *(outcome(f"i{n}", 50 + n) for n in range(29, -1, -1)),
                  outcome("x", error="broken"))  # fmt: skip
    found = compare([first, second])
    assert found.images == tuple(f"i{n}" for n in range(30))
    one, two = found.rows
    assert (one.done, two.done, one.differences) == (31, 30, {})
    assert one.means["acc"] == pytest.approx(np.mean([0.4 + n / 100 for n in range(30)]))
    # Paired, the difference is 0.1 in every image; unpaired, it would have an interval.
    difference = two.differences["miou"]
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.1, 0.1, 0.1))


def test_images_are_ordered_by_how_much_they_differ(made):
    first = made("first", *(outcome(f"i{n}", 50) for n in range(5)))
    second = made("second", *(outcome(f"i{n}", 50 + n * (-1) ** n) for n in range(5)))
    differing = compare([first, second]).differing(most=3)
    assert [image for image, _ in differing] == ["i4", "i3", "i2"]
    assert differing[0][1] == pytest.approx([0.5, 0.54])
    assert compare([first]).differing() == []
    assert compare([first, first]).differing() == []


def test_without_truth_segments_tell_images_apart(made):
    first = made("first", outcome("a"), outcome("b"))
    second = made("second", outcome("a", segments=2), outcome("b", segments=9))
    found = compare([first, second])
    assert found.decisive == "segments"
    assert math.isnan(found.rows[1].differences["acc"].value)
    assert [image for image, _ in found.differing()] == ["b"]


def test_an_image_with_truth_in_one_run_only_counts_for_no_score(made):
    first = made("first", outcome("a", 50), outcome("b"))
    second = made("second", outcome("a", 60), outcome("b", 99))
    found = compare([first, second])
    assert found.rows[1].differences["acc"].value == pytest.approx(0.1)
    assert [image for image, _ in found.differing()] == ["a"]


def test_what_can_t_be_compared_is_told(made, tmp_path):
    first, second = made("first", outcome("a")), made("second", outcome("b"))
    with pytest.raises(RunError, match="no image in common"):
        compare([first, second])
    with pytest.raises(RunError, match="third"):
        compare([first, made("third", outcome("a", error="broken"))])
    with pytest.raises(RunError, match=r"no run, for no recipe\.yaml is in it"):
        compare([tmp_path])
