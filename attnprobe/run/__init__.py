"""Runs: a recipe carried over many images, with everything it finds in one folder."""

from attnprobe.run.carry import Run
from attnprobe.run.folder import RunFolder
from attnprobe.run.outcome import Outcome
from attnprobe.run.results import Results

__all__ = ["Outcome", "Results", "Run", "RunFolder"]
