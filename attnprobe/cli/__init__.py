"""The command line, a thin face: what takes long to import is imported when a command needs it."""

# In the order in which --help lists their commands.
from attnprobe.cli import run, results, recipes, models, cache  # isort: skip
from attnprobe.cli.app import app, main

__all__ = ["app", "cache", "main", "models", "recipes", "results", "run"]
