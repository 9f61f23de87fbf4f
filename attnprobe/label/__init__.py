"""Labellers: segments get names, and those of one name become one."""

from attnprobe.label.cross_attention import CrossAttention
from attnprobe.label.prompts import PromptLabels

__all__ = ["CrossAttention", "PromptLabels"]
