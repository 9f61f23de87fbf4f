import json
import subprocess
import sys
from collections import Counter

import pytest


@pytest.fixture(scope="module")
def report():
    """In a process of its own, whose memory nothing else disturbs."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.hooks.sd14"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_it_is_the_whole_architecture(report):
    assert report["parameters"] == 859_520_964


def test_output_is_bit_identical(report):
    assert report["identical"]


def test_sixteen_layers_on_their_grids(report):
    grids = Counter(tuple(grid) for grid in report["grids"])
    assert grids == {(64, 64): 5, (32, 32): 5, (16, 16): 5, (8, 8): 1}
    assert set(report["calls"]) == {1}
    assert report["worst_row_sum"] < 1e-4


def test_peak_memory_over_the_plain_pass(report):
    assert report["over_plain"] <= 200e6
