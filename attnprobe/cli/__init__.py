"""The command line, a thin face: what takes long to import is imported when a command needs it."""

# In the order in which --help lists their commands.
from attnprobe.cli import run, results, view, export, evaluate, leaderboard, reproduce  # isort: skip
from attnprobe.cli import recipes, new, models, cache, data  # isort: skip
from attnprobe.cli.root import app, main

__all__ = [
    "app",
    "cache",
    "data",
    "evaluate",
    "export",
    "leaderboard",
    "main",
    "models",
    "new",
    "recipes",
    "reproduce",
    "results",
    "run",
    "view",
]
