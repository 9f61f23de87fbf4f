"""The core alone, and the sentence of each extra that is missing; in a process without them."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from attnprobe.extras import EXTRAS

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

BLOCKED = """
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] not in {blocked!r}:
            return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
"""


def without(modules, code, cwd):
    """Run code where these modules can't be imported."""
    words = [sys.executable, "-c", BLOCKED.format(blocked=tuple(modules)) + code]
    return subprocess.run(
        words, env=ENVIRONMENT, cwd=cwd, capture_output=True, text=True, check=False
    )


def said(code):
    return f"""
from attnprobe.errors import AttnProbeError
try:
    {code}
except AttnProbeError as error:
    print(error)
"""


def test_the_extras_are_those_of_the_project():
    optional = PROJECT["optional-dependencies"]
    for name, modules in EXTRAS.items():
        assert {Requirement(each).name for each in optional[name]} >= set(modules)
    (everything,) = map(Requirement, optional["all"])
    assert (everything.name, everything.extras) == ("attnprobe", set(EXTRAS))
    needed = {Requirement(each).name for each in PROJECT["dependencies"]}
    assert not needed & {module for modules in EXTRAS.values() for module in modules}


RUN = """
import attnprobe as ap
from attnprobe.cli import main
print(ap.Probe(size=32))
main(["run", "diffseg", "--set", "images={use: scenes, count: 1}", "--set", "probe.size=32",
      "--no-cache", "--quiet", "-o", "out"])
"""


def test_a_run_with_its_report_needs_no_extra(tmp_path):
    everything = [module for modules in EXTRAS.values() for module in modules]
    done = without(everything, RUN, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert (tmp_path / "out" / "failures.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("extra", "module", "what", "code"),
    [
        ("plots", "matplotlib", "attnprobe.view.affinity", "from attnprobe.view import affinity"),
        (
            "plots",
            "matplotlib",
            "a leaderboard's plot",
            "from pathlib import Path\n"
            "    from attnprobe.view.terminal.leaderboard import plot_leaderboard\n"
            "    plot_leaderboard([], Path('a.png'))",
        ),
        (
            "notebook",
            "anywidget",
            "the explorer in notebooks",
            "import attnprobe as ap\n    ap.explore",
        ),
        (
            "data",
            "datasets",
            "org/name, validation: the source hf",
            "from attnprobe.data.hf import HuggingFace\n    HuggingFace('org/name')()",
        ),
    ],
)
def test_python_says_which_extra_is_missing(extra, module, what, code, tmp_path):
    done = without(EXTRAS[extra], said(code), tmp_path)
    sentence = f"{what} needs {module}, which isn't installed: pip install 'attnprobe[{extra}]'\n"
    assert (done.stdout, done.stderr) == (sentence, "")


def test_the_gallery_says_which_extra_is_missing(tmp_path):
    code = "from attnprobe.cli import main\nmain(['view', '.'])"
    done = without(EXTRAS["view"], code, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    sentence = "needs uvicorn, which isn't installed: pip install 'attnprobe[view]'\n"
    assert done.stderr == f"error: attnprobe view {sentence}"
