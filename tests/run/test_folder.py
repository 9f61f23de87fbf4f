import os
import tempfile
from pathlib import Path

import pytest

from attnprobe.errors import RunError
from attnprobe.run.folder import RunFolder


def test_a_run_gets_a_new_folder_under_its_recipe_s_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = {RunFolder.choose("trial").path for _ in range(3)}
    assert len(folders) == 3
    assert {folder.parent for folder in folders} == {Path("runs/trial")}
    assert all(folder.is_dir() for folder in folders)


def test_output_is_the_folder_itself(tmp_path):
    for output in (tmp_path, tmp_path / "new" / "deep"):
        assert RunFolder.choose("trial", output).path == output


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "recipe.yaml").write_text("the user's own")
    with pytest.raises(RunError, match="not empty and no earlier run"):
        RunFolder.choose("trial", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize("inside", ["", "deeper"])
def test_a_file_is_no_folder(tmp_path, inside):
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(RunError, match=r"this is a file|Not a directory"):
        RunFolder.choose("trial", file / inside)


def test_a_name_that_is_too_long_is_told(tmp_path):
    with pytest.raises(RunError, match="can't be written: File name too long"):
        RunFolder.choose("trial", tmp_path / ("x" * 300))


@pytest.mark.parametrize("name", [".", "new/deep"])
def test_a_folder_that_may_not_be_written_is_told_and_nothing_left(name):
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o555)
        user = os.geteuid()
        os.seteuid(user or 65534)  # root may write everything
        try:
            with pytest.raises(RunError, match="can't be written: Permission denied"):
                RunFolder.choose("trial", Path(place) / name)
        finally:
            os.seteuid(user)
        assert not list(Path(place).iterdir())


def test_a_run_that_came_to_nothing_leaves_nothing(tmp_path):
    (tmp_path / "kept").mkdir()
    folder = RunFolder.choose("trial", tmp_path / "kept" / "a" / "b")
    folder.leave_if_empty()
    assert not list((tmp_path / "kept").iterdir())
    folder = RunFolder.choose("trial", tmp_path / "kept" / "a" / "b")
    folder.write_json("summary.json", {})
    folder.leave_if_empty()
    assert (tmp_path / "kept" / "a" / "b" / "summary.json").is_file()
