"""Runs that are killed as hard as can be."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_killed_runs_go_on_to_the_same_bytes_and_leave_no_stray_files(tmp_path):
    command = [sys.executable, "-m", "tests.run.killing", tmp_path, "3", "0"]
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}  # what is forked may have no threads
    result = subprocess.run(
        command, cwd=ROOT, env=threads, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("killed after") == 4
