"""How many files of the package one image passes, and which of them are to be read.

python benchmarks/count_files.py            # the walk of one picture through `attnprobe run`
python benchmarks/count_files.py --moves    # and the ways that it takes most often

A file is entered where a function of it is called; what runs while a module is imported is left
out, and so is what decorators make. `image` marks the files entered between reading the picture and
its last file, the rest are the command's, the recipe's and the report's. `read` marks the steps of
the walk: whoever knows these can say what a run does, and finds the others by their names.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import attnprobe

ROOT = Path(attnprobe.__file__).parent

TO_READ = (
    *("cli/run.py", "cli/running.py"),
    *("recipe/sweep.py", "recipe/load.py", "recipe/schema.py", "recipe/values.py", "registry.py"),
    *("run/points.py", "run/carry.py", "run/outcome.py", "run/results.py", "run/folder.py"),
    *("pipeline.py", "probe.py", "stages.py", "fields.py", "models/model.py"),
    *("hooks/capturing.py", "hooks/attention_hooks.py", "hooks/tap.py", "hooks/recording.py"),
    *("hooks/records.py", "evaluate/scorer.py", "view/report.py"),
)
"""The steps of the walk, from the command to the report."""


class Walk:
    """Which files are entered, in what order, and how often the walk goes from one to another."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        self.image: set[str] = set()
        self.moves: Counter[tuple[str, str]] = Counter()
        self._stack: list[str | None] = []
        self._importing = 0
        self._of_image = 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Take one event of `sys.setprofile`."""
        code = frame.f_code
        step = {"call": 1, "return": -1}.get(event, 0)
        if code.co_filename.startswith("<frozen importlib"):
            self._importing += step if code.co_name == "_find_and_load" else 0
        elif step and code.co_name != "<module>":
            self._of_image += step if code.co_name == "carry_image" else 0
            self._step(code.co_filename, step)

    def _step(self, path: str, step: int) -> None:
        if step < 0:
            if self._stack:
                self._stack.pop()
            return
        inside = path.startswith(f"{ROOT}{os.sep}") and path.endswith(".py")
        name = os.path.relpath(path, ROOT) if inside else None
        before = next((file for file in reversed(self._stack) if file), None)
        self._stack.append(name)
        if name is None or self._importing:
            return
        self.files.setdefault(name)
        if self._of_image:
            self.image.add(name)
            if before not in (None, name):
                self.moves[str(before), name] += 1


def walk(recipe: str, changes: list[str]) -> Walk:
    """Run a recipe by the command line, watched."""
    from attnprobe.cli import main

    with tempfile.TemporaryDirectory() as folder:
        os.environ["ATTNPROBE_CACHE"] = str(Path(folder, "cache"))
        typed = [word for change in changes for word in ("--set", change)]
        found = Walk()
        sys.setprofile(found)
        try:
            main(["run", recipe, *typed, "--quiet", "-o", str(Path(folder, "run"))])
        except SystemExit as end:
            if end.code:
                raise
        finally:
            sys.setprofile(None)
    return found


def main() -> None:
    """Print the files in the order in which they are entered, and how many there are."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--moves", action="store_true", help="list the busiest ways too")
    args = parser.parse_args()
    found = walk("diffseg", ["images={use: scenes, count: 1}", "probe.size=64"])
    for file in found.files:
        image, read = "image" * (file in found.image), "read" * (file in TO_READ)
        print(f"{image:5}  {read:4}  {file}")
    for (one, other), count in found.moves.most_common(20 if args.moves else 0):
        print(f"{count:6,}  {one} -> {other}")
    moves = found.moves.total()
    print(f"the whole command enters {len(found.files)} files, of which {len(TO_READ)} to be read")
    print(f"one image enters {len(found.image)} files and goes {moves:,} times from one to another")
    if gone := [file for file in TO_READ if file not in found.files]:
        raise SystemExit(f"not entered any more: {', '.join(gone)}")


if __name__ == "__main__":
    main()
