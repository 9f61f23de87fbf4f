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


@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [("--help", False), ("--help", True), ("--version", False), ("--version", True),
     ("list", True)],
)  # fmt: skip
def test_a_command_whose_output_goes_nowhere_says_so(tmp_path, command, unbuffered):
    assert shell(f"attnprobe {command} >/dev/full", tmp_path, unbuffered) == (2, FULL)
    assert shell(f"attnprobe {command} >&-", tmp_path, unbuffered) == (2, CLOSED)
    broken = f"attnprobe {command} | true; exit ${{PIPESTATUS[0]}}"
    status, err = shell(f"sleep 0; {broken}", tmp_path, unbuffered)
    assert (status, err) in [(2, BROKEN), (0, "")]  # 0: written before its reader was gone


def test_so_does_a_page_of_text(tmp_path):
    assert shell("attnprobe describe probe >/dev/full", tmp_path) == (2, FULL)


RUN = (
    "attnprobe run diffseg --set 'images={use: scenes, count: 1}' --set probe.size=32 "
    "--no-cache -o out"
)


@pytest.mark.parametrize(
    ("where", "said"), [(">/dev/full", f"reading diffseg …\n{FULL}"), ("<&- 2>&- >&-", "")]
)
def test_a_run_is_carried_to_its_end(tmp_path, where, said):
    """And nothing is written into what stands in a closed stream's place."""
    assert shell(f"{RUN} {where}", tmp_path) == (2, said)
    (labels,) = (tmp_path / "out" / "labels").iterdir()
    assert labels.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-", ">&- 2>&- <&-"])
def test_errors_that_nobody_hears_have_their_status(tmp_path, where):
    assert shell(f"attnprobe run nosuch {where}", tmp_path) == (2, "")
