"""Kill runs at random moments, go on with each, and compare its files with an unbroken run's.

`python -m tests.run.killing FOLDER KILLS SEED`. Everything is imported once, before the runs are
forked, so that they are killed while images are processed and not while Python starts.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from attnprobe.cli import main
from attnprobe.recipe import load_recipe
from tests.run.conftest import assert_equal_runs, contents

RECIPE = """
extends: diffseg.yaml
name: killed
images: {use: scenes, count: 4}
probe: {size: 64}
"""

SWEEP = RECIPE + "sweep: {grid: {group.anchors: [4, 8]}}\n"


def start(*arguments):
    """Start the command line in a process of its own; its number."""
    child = os.fork()
    if child:
        return child
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    status = 70
    try:
        main([*map(str, arguments)])
    except SystemExit as end:
        status = end.code
    finally:
        os._exit(status or 0)


def ended(child):
    """How a process ended: its status, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_and_resume(folder, recipe, moment):
    """What was there when the run was killed, after it has been brought to its end."""
    child = start("run", recipe, "-o", folder, "--no-cache")
    time.sleep(moment)
    os.kill(child, signal.SIGKILL)
    assert ended(child) in (-signal.SIGKILL, 0)
    left = contents(folder) if folder.exists() else {}
    assert ended(start("run", recipe, "-o", folder, "--resume", "--no-cache")) == 0
    return left


def kill(folder, text, kills, seed):
    """Kill and resume so many times; say how many images were done at each."""
    recipe = folder / "killed.yaml"
    recipe.write_text(text)
    load_recipe(str(recipe) if "sweep" not in text else "diffseg").build()  # imports the rest
    unbroken = folder / "unbroken"
    began = time.monotonic()
    assert ended(start("run", recipe, "-o", unbroken, "--no-cache")) == 0
    duration = time.monotonic() - began
    dice = random.Random(seed)
    for number in range(kills):
        moment = dice.uniform(0, duration)
        broken = folder / f"broken-{number}"
        left = kill_and_resume(broken, recipe, moment)
        assert_equal_runs(unbroken, broken)
        done = sum(name.endswith(".png") and "labels" in name for name in left)
        stray = sum(".tmp-" in name or ".lock" in name for name in left)
        print(f"killed after {moment:.2f} of {duration:.2f} s: {done} labels, {stray} stray files")


if __name__ == "__main__":
    place, count, first = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for name, text, kills in (("single", RECIPE, count), ("sweep", SWEEP, count // 2)):
        (place / name).mkdir(parents=True)
        kill(place / name, text, kills, first)
