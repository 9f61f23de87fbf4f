"""A run's folder: where each result lies, and that it can be written at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from attnprobe.errors import RunError
from attnprobe.files import write_whole

RECIPE = "recipe.yaml"
ENVIRONMENT = "environment.json"
SCORES = "scores.parquet"
SUMMARY = "summary.json"
TIMINGS = "timings.json"
FAILURES = "failures.jsonl"


class RunFolder:
    """The folder of one run, made when the object is; nothing in it is touched before `clear`.

    Args:
        path: the folder. It may be there if it is empty or holds an earlier run.

    Raises:
        RunError: it can't be made or written, or holds something that is no run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made = [p for p in (path, *path.parents) if not os.path.exists(p)]
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
            empty = not any(path.iterdir())
        except FileExistsError:
            raise RunError(f"{path}: a run needs a folder, and this is a file") from None
        except OSError as error:
            self.leave_if_empty()
            raise RunError(f"{path}: can't be written: {error.strerror or error}") from error
        if not empty and not all(
            (path / name).is_file() for name in (RECIPE, ENVIRONMENT, SUMMARY)
        ):
            raise RunError(f"{path}: not empty and no earlier run; name a new folder with -o")

    @classmethod
    def choose(cls, recipe_name: str, output: Path | None = None) -> RunFolder:
        """`output` itself, or else a new folder `runs/<recipe>/<time>`."""
        if output is not None:
            return cls(output)
        stem = Path("runs") / recipe_name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        path, number = stem, 2
        while path.exists():
            path, number = stem.with_name(f"{stem.name}_{number}"), number + 1
        return cls(path)

    def labels(self, image: str) -> Path:
        """Where an image's labels go."""
        return self.path / "labels" / f"{image}.png"

    def overlay(self, image: str) -> Path:
        """Where an image's overlay goes."""
        return self.path / "overlays" / f"{image}.png"

    def clear(self) -> None:
        """Remove what an earlier run left, by name and nothing else, and make the subfolders."""
        try:
            for place in (self.labels("*"), self.overlay("*")):
                place.parent.mkdir(exist_ok=True)
                for old in place.parent.glob(place.name):
                    old.unlink()
            for name in (ENVIRONMENT, SCORES, SUMMARY, TIMINGS, FAILURES):
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{error.filename}: can't be written: {error.strerror}") from error

    def leave_if_empty(self) -> None:
        """Remove the folders made for a run that came to nothing."""
        for path in self._made:
            try:
                path.rmdir()
            except OSError:
                return

    def write_json(self, name: str, data: Any) -> None:
        """Write a JSON file of the run."""
        self._write(name, json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    def write_json_lines(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        """Write a JSON file with a line a row."""
        self._write(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def _write(self, name: str, text: str) -> None:
        with write_whole(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
