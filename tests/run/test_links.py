"""Nothing is written or deleted outside a run's folder, nor what the run didn't write."""

import os
import shutil

import pytest

from attnprobe.errors import RunError
from attnprobe.run.folder import RunFolder
from tests.run.conftest import contents


@pytest.fixture
def outside(tmp_path):
    """A folder of somebody's that a link may lead to."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "holiday.png").write_text("precious")
    (place / ".tmp-000000000000.png").write_text("precious")
    return place


@pytest.mark.parametrize("name", ["labels", "overlays", "maps", "drawn", "points"])
@pytest.mark.parametrize("resume", [True, False])
def test_a_folder_that_leads_elsewhere_is_refused(run, outside, name, resume):
    folder = run().folder
    list(run())
    shutil.rmtree(folder.path / name, ignore_errors=True)
    (folder.path / name).symlink_to(outside)
    before = contents(outside)
    with pytest.raises(RunError, match=rf"{name}: leads out of the run's folder"):
        list(run(resume=resume))
    with pytest.raises(RunError, match=rf"{name}: leads out of the run's folder"), folder:
        pass
    assert contents(outside) == before


def test_a_link_that_comes_while_the_run_goes_stops_it(run, outside):
    started = run()
    outcomes = iter(started)
    next(outcomes)
    shutil.rmtree(started.folder.path / "overlays")
    (started.folder.path / "overlays").symlink_to(outside)
    before = contents(outside)
    with pytest.raises(RunError, match="overlays: leads out of the run's folder"):
        next(outcomes)
    assert contents(outside) == before


@pytest.mark.parametrize("name", ["progress.jsonl", ".lock"])
def test_a_file_that_leads_elsewhere_is_not_followed(run, tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("a line without an end")
    folder = run().folder
    (folder.path / name).symlink_to(victim)
    with pytest.raises(RunError), folder:
        list(run(resume=True))
    assert victim.read_text() == "a line without an end"


@pytest.mark.parametrize(
    "name", ["scores.parquet", "summary.json", "images.json", "recipe.yaml", "labels/{}.png"]
)
def test_a_file_s_link_is_replaced_and_what_it_led_to_stays(run, tmp_path, name):
    done = run()
    image = next(iter(done)).image
    victim = tmp_path / "victim"
    path = done.folder.path / name.format(image)
    shutil.move(path, victim) if path.exists() else victim.write_text("precious")
    before = victim.read_bytes()
    path.symlink_to(victim)
    list(run())
    assert victim.read_bytes() == before
    assert not path.is_symlink()


def test_what_somebody_else_has_put_there_stays(run):
    first = run()
    list(first)
    theirs = [
        first.folder.path / kind / f"mine{suffix}"
        for kind, suffix in (("labels", ".png"), ("overlays", ".png"), ("maps", ".npz"))
    ]
    for path in theirs:
        path.write_text("mine")
    (outcome,) = run("images={use: scenes, count: 1, start: 7}")
    assert all(path.read_text() == "mine" for path in theirs)
    assert sorted(path.stem for path in (first.folder.path / "labels").iterdir()) == sorted(
        ["mine", outcome.image]
    )


def test_the_run_s_own_folder_may_be_a_link(run, tmp_path):
    (tmp_path / "large-disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "large-disk")
    with RunFolder(tmp_path / "run"):
        assert all(outcome.error is None for outcome in run())


@pytest.mark.parametrize("label", ["../elsewhere", "/tmp", "..", "a/b"])
def test_a_point_s_name_leads_nowhere_else(tmp_path, label):
    with pytest.raises(RunError, match="leads out of the sweep's folder"):
        RunFolder(tmp_path).point(label)


@pytest.mark.parametrize("image", ["../x", "/etc/passwd", "a/b", "", "\x1b[31m", "x" * 300])
def test_an_image_s_name_leads_nowhere_else(tmp_path, image):
    for place in (RunFolder(tmp_path).labels, RunFolder(tmp_path).maps):
        with pytest.raises(RunError, match=r"the image's name .* (leads out|is none of a file)"):
            place(image)


def test_a_circle_of_links_is_told(run):
    folder = run().folder
    shutil.rmtree(folder.path / "labels")
    os.symlink(folder.path / "labels", folder.path / "labels")
    with pytest.raises(RunError):
        list(run())
