"""Aggregators: many attention fields, one a layer, become one."""

from attnprobe.aggregate.multiscale import Multiscale

__all__ = ["Multiscale"]
