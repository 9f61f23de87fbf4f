"""Scores of a segmentation against the truth."""

from attnprobe.evaluate.bootstrap import mean_interval, score_draws
from attnprobe.evaluate.boundary import boundary_f
from attnprobe.evaluate.hungarian import HungarianScore
from attnprobe.evaluate.protocol import PROTOCOLS, Match, Protocol
from attnprobe.evaluate.regions import Regions, RegionScore, region_scores
from attnprobe.evaluate.score import ForegroundScore, MajorityScore, OverlapScore, Score
from attnprobe.evaluate.scores import Scores
from attnprobe.evaluate.scoring import Scoring, common_classes, image_scores

__all__ = [
    "PROTOCOLS",
    "ForegroundScore",
    "HungarianScore",
    "MajorityScore",
    "Match",
    "OverlapScore",
    "Protocol",
    "RegionScore",
    "Regions",
    "Score",
    "Scores",
    "Scoring",
    "boundary_f",
    "common_classes",
    "image_scores",
    "mean_interval",
    "region_scores",
    "score_draws",
]
