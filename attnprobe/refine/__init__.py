"""Refiners: a segmentation and the field it came from become a better segmentation."""

from attnprobe.refine.kmeans import KMeansRefiner

__all__ = ["KMeansRefiner"]
