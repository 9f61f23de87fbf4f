"""A run's folder: where each result lies, and whether a run may use it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnprobe.errors import AttnProbeError, RunError
from attnprobe.files import is_temporary, make_folder, printable, read_text, safe_name, write_whole
from attnprobe.run.forms import (
    ENVIRONMENT_FORM,
    SUMMARY_FORM,
    TIMES,
    checked,
)
from attnprobe.run.lock import Lock

if TYPE_CHECKING:
    from pydantic import TypeAdapter

RECIPE = "recipe.yaml"
ENVIRONMENT = "environment.json"
IMAGES = "images.json"
PROGRESS = "progress.jsonl"
SCORES = "scores.parquet"
SUMMARY = "summary.json"
TIMINGS = "timings.json"
FAILURES = "failures.jsonl"
SWEEP = "sweep.parquet"
POINTS = "points"
REPORT = "report.html"
LOCK = ".lock"

LABELS, OVERLAYS, NAMES = "labels", "overlays", "names"
MAPS, WORDS, DRAWN = "maps", "words", "drawn"
_KINDS = {
    LABELS: ".png",
    OVERLAYS: ".png",
    NAMES: ".json",
    MAPS: ".npz",
    WORDS: ".npz",
    DRAWN: ".png",
}
"""Folders of what is kept of each image, and the suffix of the files in them."""

_FOUND = (SCORES, SUMMARY, TIMINGS, FAILURES, PROGRESS, REPORT)
"""What a run finds, beside pictures; the other files say what it is."""


class RunFolder:
    """The folder of a run, or of a sweep with a run's folder for each point.

    As a context manager it is made and locked, so that two runs can't mix; at the end it is
    unlocked, and removed if it was made for a run that came to nothing.

    Args:
        path: the folder. It may exist if it is empty or holds a run or a sweep.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock(path / LOCK)
        self._made: list[Path] = []

    @classmethod
    def choose(cls, recipe_name: str, output: Path | None = None) -> RunFolder:
        """`output` itself, or else `runs/<recipe>/<time>`, which no run has yet."""
        if output is not None:
            return cls(output)
        stem = Path("runs") / recipe_name / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        path, number = stem, 2
        while path.exists():
            path, number = stem.with_name(f"{stem.name}_{number}"), number + 1
        return cls(path)

    @classmethod
    def latest(cls, recipe_name: str) -> RunFolder:
        """The newest folder under `runs/<recipe>`.

        Raises:
            RunError: there is none.
        """
        place = Path("runs") / recipe_name
        found = [path for path in place.glob("*") if path.is_dir()]
        if not found:
            raise RunError(f"{place}: no run to resume; name its folder with -o, or leave --resume")
        # By the time in the name, and among those of one second by their number.
        return cls(max(found, key=lambda path: [(len(p), p) for p in re.split("_", path.name)]))

    def __enter__(self) -> RunFolder:
        """Make the folder if it isn't there, and lock it.

        Raises:
            RunError: it can't be written, holds something that is no run, or is locked.
        """
        path = self.path
        self._made = [p for p in (path, *path.parents) if not os.path.exists(p)]
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._refuse_what_is_no_run()
            self.refuse_links()
            free = self._lock.take()
        except FileExistsError:
            raise RunError(f"{path}: a run needs a folder, and this is a file") from None
        except OSError as error:
            self._leave_if_empty()
            raise RunError(f"{path}: can't be written: {error.strerror or error}") from error
        if not free:
            raise RunError(f"{path}: another run is writing here; name another folder with -o")
        self._remove_temporaries()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.drop()
        self._leave_if_empty()

    def _refuse_what_is_no_run(self) -> None:
        if not (self.is_run or self.is_sweep or self.is_unused):
            raise RunError(f"{self.path}: not empty and no earlier run; name a new folder with -o")

    def refuse_links(self) -> None:
        """Refuse a folder of the run's that leads elsewhere: nothing is written or deleted there.

        Raises:
            RunError: it does.
        """
        root = os.path.realpath(self.path)
        for name in (*_KINDS, POINTS, PROGRESS):
            real = os.path.realpath(self.path / name)
            if os.path.commonpath([root, real]) != root:
                raise RunError(
                    f"{self.path / name}: leads out of the run's folder, to {real}, where nothing "
                    "is written; remove the link, or name another folder with -o"
                )

    def _remove_temporaries(self) -> None:
        """Remove what a killed process was about to rename; under the lock nobody else is."""
        for place in (self.path, *(self.path / kind for kind in _KINDS)):
            for old in place.glob(".tmp-*"):
                if is_temporary(old.name) and old.is_file() and not old.is_symlink():
                    with suppress(OSError):
                        old.unlink()

    def _leave_if_empty(self) -> None:
        for path in self._made:
            try:
                path.rmdir()
            except OSError:
                return

    @property
    def is_run(self) -> bool:
        """Whether a run was started here."""
        return (self.path / RECIPE).is_file() and (self.path / ENVIRONMENT).is_file()

    @property
    def is_sweep(self) -> bool:
        """Whether a sweep was started here."""
        return (self.path / SWEEP).is_file()

    @property
    def is_unused(self) -> bool:
        """Whether nothing is here, or only what a run leaves that is killed as it starts."""
        names = (path.name for path in self.path.glob("*"))
        return all(n in (LOCK, ENVIRONMENT, IMAGES) or is_temporary(n) for n in names)

    def labels(self, image: str) -> Path:
        """Where an image's labels go."""
        return self._file(LABELS, image)

    def overlay(self, image: str) -> Path:
        """Where an image's overlay goes."""
        return self._file(OVERLAYS, image)

    def names(self, image: str) -> Path:
        """Where go what an image's segments are called."""
        return self._file(NAMES, image)

    def maps(self, image: str) -> Path:
        """Where an image's pooled maps go."""
        return self._file(MAPS, image)

    def words(self, image: str) -> Path:
        """Where an image's maps of words go."""
        return self._file(WORDS, image)

    def drawn(self, image: str) -> Path:
        """Where a picture goes that the model has drawn; its folder is made.

        Raises:
            RunError: the folder can't be written.
        """
        path = self._file(DRAWN, image)
        self._make(DRAWN)
        return path

    def has_pictures(self, image: str) -> bool:
        """Whether an image's labels and overlay are there."""
        return self._has(LABELS, image) and self._has(OVERLAYS, image)

    def has_maps(self, image: str) -> bool:
        """Whether an image's pooled maps are there."""
        return self._has(MAPS, image)

    def has_words(self, image: str) -> bool:
        """Whether an image's maps of words are there."""
        return self._has(WORDS, image)

    def _has(self, kind: str, image: str) -> bool:
        return image == safe_name(image) and self._file(kind, image).is_file()

    def _file(self, kind: str, image: str) -> Path:
        """A file of an image.

        Raises:
            RunError: its name isn't one of a file.
        """
        if image != safe_name(image):
            said = "leads out of the run's folder" if "/" in image else "is none of a file"
            raise RunError(f"{self.path}: the image's name {printable(image)} {said}")
        return self.path / kind / f"{image}{_KINDS[kind]}"

    def point(self, label: str) -> RunFolder:
        """The folder of a sweep's point.

        Raises:
            RunError: its name is none of a folder, or it leads out of the sweep's folder.
        """
        path = self.path / POINTS / label
        root = os.path.realpath(self.path)
        if label != safe_name(label) or os.path.commonpath([root, os.path.realpath(path)]) != root:
            raise RunError(f"{path}: leads out of the sweep's folder")
        return RunFolder(path)

    def make_subfolders(self) -> None:
        """Make the folders of labels and overlays.

        Raises:
            RunError: the folder can't be written.
        """
        self._make(LABELS, OVERLAYS)

    def _make(self, *kinds: str) -> None:
        try:
            for kind in kinds:
                make_folder(self.path / kind)
        except AttnProbeError as error:
            raise RunError(str(error)) from error

    def clear(self) -> None:
        """Remove what an earlier run found, but for its images' files, by name and nothing else.

        Raises:
            RunError: the folder can't be written.
        """
        self._remove(self.path / name for name in _FOUND)

    def remove_images(self, images: Iterable[str]) -> None:
        """Remove the files that the run wrote of these images.

        Raises:
            RunError: the folder can't be written, or leads elsewhere.
        """
        self.refuse_links()
        ours = [image for image in images if image == safe_name(image)]
        self._remove(self._file(kind, image) for image in ours for kind in _KINDS)

    def _remove(self, paths: Iterable[Path]) -> None:
        try:
            for path in paths:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{error.filename}: can't be written: {error.strerror}") from error

    def write_json(self, name: str, data: Any) -> None:
        """Write a JSON file of the run."""
        self._write(name, json.dumps(data, indent=2, ensure_ascii=False) + "\n")

    def write_json_lines(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        """Write a JSON file with a line a row."""
        self._write(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def read_json(self, name: str, form: TypeAdapter[Any], default: Any = None) -> Any:
        """What a JSON file of the run holds, or the default if there is no such file.

        Raises:
            RunError: it can't be read, or is of another form.
        """
        path = self.path / name
        try:
            text = read_text(path)
            if path.suffix == ".jsonl":
                value = [json.loads(line) for line in text.split("\n") if line]
            else:
                value = json.loads(text)
        except FileNotFoundError:
            return default
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path}: can't be read: {error}") from None
        return checked(form, value, path)

    def environment(self) -> dict[str, Any]:
        """What environment.json holds; empty if there is none."""
        return self.read_json(ENVIRONMENT, ENVIRONMENT_FORM, {})

    def summary(self) -> dict[str, Any]:
        """What summary.json holds; empty if there is none."""
        return self.read_json(SUMMARY, SUMMARY_FORM, {})

    def times(self) -> dict[str, float]:
        """Seconds by image; empty if none are written."""
        return self.read_json(TIMINGS, TIMES, {})

    def _write(self, name: str, text: str) -> None:
        with write_whole(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
