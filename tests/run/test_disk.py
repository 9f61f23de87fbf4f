"""A disk that fills up or turns read-only while a run goes: a small file system of its own."""

import os
import shlex
import subprocess

import pytest

from attnprobe.errors import AttnProbeError
from attnprobe.run.folder import RunFolder
from attnprobe.run.results import Results
from tests.run.conftest import assert_equal_runs

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")


def mount(*arguments):
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False)


@pytest.fixture
def disk(tmp_path):
    """A file system in memory of 200 KB, which holds some of the images' files."""
    place = tmp_path / "disk"
    place.mkdir()
    if mount("-t", "tmpfs", "-o", "size=200k", "tmpfs", place).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def unbroken(run, tmp_path):
    done = run("images.count=8", output=tmp_path / "unbroken")
    list(done)
    return done.folder.path


def assert_goes_on(run, folder, unbroken):
    """What was done is known, is done no second time, and the end is that of an unbroken run."""
    done = len(Results.load(RunFolder(folder)).done)
    assert done > 0
    again = run("images.count=8", output=folder, resume=True)
    assert len(list(again)) == 8 - done
    assert_equal_runs(unbroken, folder)


def test_a_full_disk_loses_nothing(run, disk, unbroken):
    with pytest.raises(AttnProbeError, match="can't be written: No space left on device"):
        list(run("images.count=8", output=disk / "run"))
    assert not list(disk.glob("**/.tmp-*"))
    assert mount("-o", "remount,size=2m", disk).returncode == 0
    assert_goes_on(run, disk / "run", unbroken)


def test_a_disk_that_is_full_for_every_byte_loses_nothing(run, disk, unbroken):
    mount("-o", "remount,size=2m", disk)
    outcomes = iter(run("images.count=8", output=disk / "run"))
    next(outcomes)
    subprocess.run(["cp", "/dev/zero", disk / "ballast"], capture_output=True, check=False)
    with pytest.raises(AttnProbeError, match="can't be written: No space left on device"):
        list(outcomes)
    (disk / "ballast").unlink()
    assert_goes_on(run, disk / "run", unbroken)


def test_a_disk_that_turns_read_only_loses_nothing(run, disk, unbroken):
    mount("-o", "remount,size=2m", disk)
    outcomes = iter(run("images.count=8", output=disk / "run"))
    next(outcomes)
    assert mount("-o", "remount,ro", disk).returncode == 0
    with pytest.raises(AttnProbeError, match="can't be written: Read-only file system"):
        list(outcomes)
    with (
        pytest.raises(AttnProbeError, match="can't be written: Read-only"),
        RunFolder(disk / "run"),
    ):
        pass
    assert mount("-o", "remount,rw", disk).returncode == 0
    assert_goes_on(run, disk / "run", unbroken)


def test_the_command_line_says_how_to_go_on_and_that_works(disk, tmp_path, attnprobe):
    command = [
        "run",
        "diffseg",
        "--set",
        "images={use: scenes, count: 8}",
        "--set",
        "probe.size=64",
    ]
    assert attnprobe(*command, "-o", "unbroken")[0] == 0
    status, out, err = attnprobe(*command, "-o", disk / "run")
    assert (status, out) == (2, "")
    first, second = err.splitlines()
    assert first.startswith(f"error: {disk}/run/")
    assert first.endswith("can't be written: No space left on device")
    kept, _, typed = second.partition("; go on with: attnprobe ")
    assert kept.startswith("error: ")
    assert kept.endswith(" of 8 images are done and kept")
    mount("-o", "remount,size=2m", disk)
    assert attnprobe(*shlex.split(typed))[0] == 0
    assert_equal_runs(tmp_path / "unbroken", disk / "run")
