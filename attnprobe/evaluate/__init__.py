"""Scores of a segmentation against the truth."""

from attnprobe.evaluate.bootstrap import mean_interval, score_draws
from attnprobe.evaluate.metrics import (
    ForegroundMetric,
    HungarianMetric,
    MajorityMetric,
    Metric,
    OverlapMetric,
    Scores,
)
from attnprobe.evaluate.protocol import PROTOCOLS, Match, Protocol
from attnprobe.evaluate.regions import RegionMetric, Regions, boundary_f, region_scores
from attnprobe.evaluate.scorer import Scorer, common_classes, image_scores

__all__ = [
    "PROTOCOLS",
    "ForegroundMetric",
    "HungarianMetric",
    "MajorityMetric",
    "Match",
    "Metric",
    "OverlapMetric",
    "Protocol",
    "RegionMetric",
    "Regions",
    "Scorer",
    "Scores",
    "boundary_f",
    "common_classes",
    "image_scores",
    "mean_interval",
    "region_scores",
    "score_draws",
]
