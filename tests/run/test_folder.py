import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from attnprobe.errors import RunError
from attnprobe.run.folder import RunFolder
from attnprobe.run.lock import Lock


def choose(*arguments):
    """Choose a folder as a run does, make it, and leave it as it is."""
    with RunFolder.choose(*arguments) as folder:
        (folder.path / "recipe.yaml").touch()
        (folder.path / "environment.json").touch()
    return folder


def test_a_run_gets_a_new_folder_under_its_recipe_s_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = {choose("trial").path for _ in range(12)}
    assert len(folders) == 12
    assert {folder.parent for folder in folders} == {Path("runs/trial")}
    assert all(folder.is_dir() for folder in folders)


def test_the_latest_run_is_the_last_that_was_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(12):
        last = choose("trial")
        assert RunFolder.latest("trial").path == last.path
    with pytest.raises(RunError, match="runs/other: no run to resume; name its folder with -o"):
        RunFolder.latest("other")


def test_output_is_the_folder_itself(tmp_path):
    for output in (tmp_path / "new", tmp_path / "new" / "deep"):
        assert choose("trial", output).path == output


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "recipe.yaml").write_text("the user's own")
    with pytest.raises(RunError, match="not empty and no earlier run"):
        choose("trial", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize("inside", ["", "deeper"])
def test_a_file_is_no_folder(tmp_path, inside):
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(RunError, match=r"this is a file|Not a directory"):
        choose("trial", file / inside)


def test_a_name_that_is_too_long_is_told(tmp_path):
    with pytest.raises(RunError, match="can't be written: File name too long"):
        choose("trial", tmp_path / ("x" * 300))


@pytest.mark.parametrize("name", [".", "new/deep"])
def test_a_folder_that_may_not_be_written_is_told_and_nothing_left(name):
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o555)
        user = os.geteuid()
        os.seteuid(user or 65534)  # root may write everything
        try:
            with pytest.raises(RunError, match="can't be written: Permission denied"):
                choose("trial", Path(place) / name)
        finally:
            os.seteuid(user)
        assert not list(Path(place).iterdir())


def test_a_run_that_came_to_nothing_leaves_nothing(tmp_path):
    (tmp_path / "kept").mkdir()
    with RunFolder.choose("trial", tmp_path / "kept" / "a" / "b"):
        pass
    assert not list((tmp_path / "kept").iterdir())
    with RunFolder.choose("trial", tmp_path / "kept" / "a" / "b") as folder:
        folder.write_json("summary.json", {})
    assert (tmp_path / "kept" / "a" / "b" / "summary.json").is_file()


def test_what_a_killed_process_was_about_to_rename_is_removed(tmp_path):
    folder = choose("trial", tmp_path / "run")
    folder.make_subfolders()
    names = (
        f"{place}.tmp-{digit * 12}"
        for place, digit in zip(("", "labels/", "overlays/"), "09f", strict=True)
    )
    left = [folder.path / f"{name}.png" for name in names]
    theirs = [folder.path / "labels" / name for name in (".tmp-mine.png", "tmp-000000000000.png")]
    for path in (*left, *theirs):
        path.touch()
    with RunFolder(folder.path):
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in theirs)


def test_one_run_at_a_time(tmp_path):
    folder = choose("trial", tmp_path / "run")
    with folder:
        with pytest.raises(RunError, match="another run is writing here"), RunFolder(folder.path):
            pass
        assert folder.is_run
    with RunFolder(folder.path):
        pass
    assert not (folder.path / ".lock").exists()


def test_a_killed_process_leaves_no_lock(tmp_path):
    code = f"""
import os, pathlib, signal
from attnprobe.run.lock import Lock
assert Lock(pathlib.Path({str(tmp_path / ".lock")!r})).take()
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / ".lock").exists()
    lock = Lock(tmp_path / ".lock")
    assert lock.take()
    lock.drop()
    assert not (tmp_path / ".lock").exists()


def test_a_lock_on_a_file_that_its_last_holder_removed_is_none(tmp_path, monkeypatch):
    flock, removed = fcntl.flock, []

    def flock_after_the_holder_is_done(file, how):
        if not removed:
            removed.append((tmp_path / ".lock").unlink())
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", flock_after_the_holder_is_done)
    lock = Lock(tmp_path / ".lock")
    assert lock.take()
    assert not Lock(tmp_path / ".lock").take()
    lock.drop()


def test_of_many_that_want_a_lock_one_at_a_time_has_it(tmp_path):
    held, worst = [], []

    def work(name):
        for _ in range(200):
            lock = Lock(tmp_path / ".lock")
            if lock.take():
                held.append(name)
                worst.append(len(held))
                held.remove(name)
                lock.drop()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert max(worst) == 1
    assert not (tmp_path / ".lock").exists()
