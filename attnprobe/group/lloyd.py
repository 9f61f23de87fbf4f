"""K-Means on the rows of a field, from a given start."""

from __future__ import annotations

import torch


def kmeans_means(rows: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Cluster means (K, N) of the rows (M, N) by Lloyd's algorithm from the `start` (K, N), once.

    Euclidean, scikit-learn's implementation and its stopping rule, as DiffSeg's program uses it.
    """
    from sklearn.cluster import KMeans

    clusters = KMeans(len(start), init=start.cpu().numpy(), n_init=1).fit(rows.cpu().numpy())
    return torch.from_numpy(clusters.cluster_centers_).to(start)
