"""What a mistake needs imports neither PyTorch nor SciPy: told by modules, not by a clock."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
SLOW = ("torch", "scipy", "sklearn", "diffusers", "transformers", "pyarrow", "matplotlib")

WATCHED = """
import json, sys, traceback
from attnprobe.cli import main

slow, blamed = set(json.loads(sys.argv[1])), {}

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in slow:
            ours = [each for each in traceback.extract_stack() if "attnprobe" in each.filename]
            blamed.setdefault(name, f"{ours[-1].filename}:{ours[-1].lineno}" if ours else "?")

sys.meta_path.insert(0, Watch())
try:
    main(sys.argv[2:])
except SystemExit as end:
    print(json.dumps({"status": end.code, "blamed": blamed}))
"""


def run_watched(*arguments, cwd):
    """What a command says, its exit status, and who imports what is slow."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, json.dumps(SLOW), *arguments],
        env=ENVIRONMENT, cwd=cwd, capture_output=True, text=True, check=True,
    )  # fmt: skip
    *printed, last = done.stdout.splitlines()
    return "\n".join(printed), done.stderr, json.loads(last)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["run", "diffseg", "--set", "group.ancors=3"], 2),
        (["run", "diffseg", "--model", "sd1"], 2),
        (["run", "difseg"], 2),
        (["show", "diffseg"], 0),
        (["list"], 0),
        (["recipes"], 0),
        (["describe", "diffseg"], 0),
        (["schema"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_mistake_needs_imports_nothing_slow(arguments, status, tmp_path):
    _, _, found = run_watched(*arguments, cwd=tmp_path)
    assert found == {"status": status, "blamed": {}}


def test_all_components_are_checked_without_pytorch():
    code = """
import sys
from attnprobe import registry
from attnprobe.recipe import load_points
from attnprobe.recipe.shipped import shipped

for kind in registry.KINDS:
    assert registry.entries(kind)
for path in shipped().values():
    load_points(path)
print({"torch", "diffusers"} & set(sys.modules))
"""
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_run_says_what_it_does_before_anything_slow_is_imported(tmp_path):
    code = """
import sys
from unittest import mock
from attnprobe.cli import main

class End(BaseException):
    pass

def look(sentence, err):
    print(sentence, {"torch", "numpy", "rich"} & set(sys.modules), err)
    raise End

with mock.patch("typer.echo", look):
    try:
        main(["run", "diffseg"])
    except End:
        pass
"""
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "reading diffseg … set() True\n", done.stderr
