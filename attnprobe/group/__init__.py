"""Groupers: a field of attention becomes segments."""

from attnprobe.group.agglomerative import Agglomerative
from attnprobe.group.argmax import Argmax
from attnprobe.group.diffseg import DiffSeg
from attnprobe.group.kmeans import KMeans
from attnprobe.group.kway_ncut import KWayNCut
from attnprobe.group.ncut import NCut
from attnprobe.group.scikit import SklearnClusterer
from attnprobe.group.spectral import Spectral
from attnprobe.group.threshold import Threshold
from attnprobe.group.token_merge import TokenMerge

__all__ = [
    "Agglomerative",
    "Argmax",
    "DiffSeg",
    "KMeans",
    "KWayNCut",
    "NCut",
    "SklearnClusterer",
    "Spectral",
    "Threshold",
    "TokenMerge",
]
