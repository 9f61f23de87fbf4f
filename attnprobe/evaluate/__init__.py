"""Scores of a segmentation against the truth."""

from attnprobe.evaluate.hungarian import HungarianScore, Match, Scores, image_scores

__all__ = ["HungarianScore", "Match", "Scores", "image_scores"]
