import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "tiny_controls.py"


def test_training_shows_and_colour_alone_does_not_do():
    """The margins of the published table, on fewer of the same scenes."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--count", "12"],
        cwd=SCRIPT.parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    trained, kmeans, untrained = map(float, re.findall(r"^(\d\.\d+)  ", done.stdout, re.MULTILINE))
    assert trained >= kmeans + 0.12
    assert trained >= untrained + 0.15
