"""Refiners: a segmentation and the field it came from become a better segmentation."""

from attnprobe.refine.crf import DenseCrf
from attnprobe.refine.guided import Guided
from attnprobe.refine.kmeans import KMeansRefiner
from attnprobe.refine.majority import Majority
from attnprobe.refine.min_area import MinArea
from attnprobe.refine.pamr import Pamr
from attnprobe.refine.upscale import Upscale

__all__ = ["DenseCrf", "Guided", "KMeansRefiner", "Majority", "MinArea", "Pamr", "Upscale"]
