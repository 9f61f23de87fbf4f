"""Output that is closed, full, or read by nobody: a sentence, and the work is done."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FULL = "error: standard output can't be written: No space left on device\n"
CLOSED = "error: standard output can't be written: Bad file descriptor\n"
BROKEN = "error: standard output can't be written: Broken pipe\n"


def shell(command, cwd, unbuffered=False):
    """Run a line of bash in which `attnprobe` is the command line; its status and errors."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1" * unbuffered}
    line = command.replace("attnprobe", f"{sys.executable} -m attnprobe")
    done = subprocess.run(
        ["bash", "-c", line], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("command", ["list", "--help", "--version", "describe probe"])
def test_a_command_whose_output_goes_nowhere_says_so(tmp_path, command, unbuffered):
    assert shell(f"attnprobe {command} >/dev/full", tmp_path, unbuffered) == (2, FULL)
    assert shell(f"attnprobe {command} >&-", tmp_path, unbuffered) == (2, CLOSED)
    broken = f"attnprobe {command} | true; exit ${{PIPESTATUS[0]}}"
    status, err = shell(f"sleep 0; {broken}", tmp_path, unbuffered)
    assert (status, err) in [(2, BROKEN), (0, "")]  # 0: written before its reader was gone


RUN = (
    "attnprobe run diffseg --set 'images={use: scenes, count: 1}' --set probe.size=32 "
    "--no-cache -o out"
)


@pytest.mark.parametrize(("where", "said"), [(">/dev/full", FULL), (">&-", CLOSED)])
def test_a_run_is_carried_to_its_end(tmp_path, where, said):
    assert shell(f"{RUN} {where}", tmp_path) == (2, said)
    assert len(list((tmp_path / "out" / "labels").iterdir())) == 1
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-", ">&- 2>&- <&-"])
def test_errors_that_nobody_hears_have_their_status(tmp_path, where):
    assert shell(f"attnprobe run nosuch {where}", tmp_path) == (2, "")


def test_nothing_is_written_into_what_stands_in_a_closed_stream_s_place(tmp_path):
    status, _ = shell(f"{RUN} --resume <&- 2>&- >&-", tmp_path)
    assert status == 2
    for path in (tmp_path / "out" / "labels").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")
