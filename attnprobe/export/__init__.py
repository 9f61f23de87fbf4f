"""A run's masks in the forms that other programs read."""

from attnprobe.export.run import FORMATS, export_run

__all__ = ["FORMATS", "export_run"]
