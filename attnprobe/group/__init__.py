"""Groupers: a field of attention becomes segments."""

from attnprobe.group.diffseg import DiffSeg

__all__ = ["DiffSeg"]
