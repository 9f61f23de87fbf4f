"""Classical segmentation on colours alone, each at several settings, to compare with.

Needs scikit-image: pip install -c constraints.txt -e '.[baselines]'
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from skimage.color import rgb2lab
from skimage.graph import merge_hierarchical, rag_mean_color
from skimage.segmentation import felzenszwalb, slic
from skimage.transform import resize
from sklearn.cluster import KMeans, MeanShift

Segment = Callable[[np.ndarray], np.ndarray]
"""From a picture (H, W, 3) uint8 to labels (H, W)."""


def graph_based(picture: np.ndarray, scale: float) -> np.ndarray:
    """Felzenszwalb and Huttenlocher, IJCV 2004."""
    return felzenszwalb(picture, scale=scale, sigma=0.8, min_size=300)


def superpixels_merged(picture: np.ndarray, distance: float) -> np.ndarray:
    """SLIC's superpixels (Achanta et al., PAMI 2012), merged while two mean colours are near."""
    lab = rgb2lab(picture)
    labels = slic(picture, n_segments=300, compactness=10, start_label=0)
    graph = rag_mean_color(lab, labels)
    return merge_hierarchical(labels, graph, distance, False, True, _merge, _between)


def _merge(graph, gone, into):
    """Add one region's colours to another's."""
    for kind in ("total color", "pixel count"):
        graph.nodes[into][kind] += graph.nodes[gone][kind]
    graph.nodes[into]["mean color"] = (
        graph.nodes[into]["total color"] / graph.nodes[into]["pixel count"]
    )


def _between(graph, _, joined, neighbour):
    """How far two neighbours' mean colours are apart."""
    one, other = (graph.nodes[node]["mean color"] for node in (joined, neighbour))
    return {"weight": np.linalg.norm(one - other)}


def mean_shift(picture: np.ndarray, bandwidth: float) -> np.ndarray:
    """Comaniciu and Meer, PAMI 2002: modes of colour (CIELAB) and place, the diagonal being 100.

    Modes are sought on a picture of an eighth of the size, and each pixel takes the nearest.
    """
    height, width = picture.shape[:2]
    small = resize(picture, (height // 8, width // 8), anti_aliasing=True)
    modes = MeanShift(bandwidth=bandwidth, bin_seeding=True).fit(_features(small))
    return modes.predict(_features(picture)).reshape(height, width)


def _features(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    y, x = (np.mgrid[:height, :width] + 0.5) * 100 / np.hypot(height, width)
    return np.dstack([rgb2lab(picture), y, x]).reshape(-1, 5)


def colours(picture: np.ndarray, clusters: int) -> np.ndarray:
    """K-Means on CIELAB, its centres found on every seventh pixel."""
    lab = rgb2lab(picture).reshape(-1, 3)
    found = KMeans(clusters, n_init=1, random_state=0).fit(lab[::7])
    return found.predict(lab).reshape(picture.shape[:2])


METHODS: dict[str, dict[str, Segment]] = {
    "Felzenszwalb": {
        f"scale {scale}": partial(graph_based, scale=scale)
        for scale in (250, 500, 1000, 2000, 4000)
    },
    "SLIC, merged": {
        f"ΔE {distance}": partial(superpixels_merged, distance=distance)
        for distance in (6, 9, 12, 16, 20)
    },
    "mean shift": {
        f"bandwidth {width}": partial(mean_shift, bandwidth=width) for width in (10, 14, 18, 22, 28)
    },
    "K-Means on colours": {f"{k} clusters": partial(colours, clusters=k) for k in (2, 3, 4, 6, 8)},
}
"""By name, the settings of each."""
