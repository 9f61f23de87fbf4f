"""scikit-learn's clusterers on a field."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from attnprobe.distances import Metric, pairwise
from attnprobe.errors import ComponentError, did_you_mean
from attnprobe.fields import AttentionField, Segmentation
from attnprobe.group.soft import from_labels
from attnprobe.registry import grouper

Estimator = Literal[
    "AffinityPropagation",
    "AgglomerativeClustering",
    "Birch",
    "BisectingKMeans",
    "DBSCAN",
    "GaussianMixture",
    "HDBSCAN",
    "MeanShift",
    "MiniBatchKMeans",
    "OPTICS",
    "SpectralClustering",
]

_DISTANCE = ("AgglomerativeClustering", "DBSCAN", "HDBSCAN", "OPTICS")
_AFFINITY = ("AffinityPropagation", "SpectralClustering")
"""Those that take a matrix instead of rows."""

_MATRIX_KEY = {"distance": "metric", "affinity": "affinity"}
"""By `on`: the parameter that says that a matrix is given."""


@grouper("sklearn")
@dataclass(frozen=True)
class SklearnClusterer:
    """A clusterer of scikit-learn by name (Pedregosa et al. 2011, JMLR 12).

    What the estimator calls noise becomes one segment, the last; the random state comes from the
    recipe's seed. Proposals are the segments' masks. Time and memory are the estimator's, on N
    rows of N numbers or on an N×N matrix.

    Args:
        estimator: its class in scikit-learn.
        params: its parameters, checked against its own constraints; see scikit-learn's manual.
        on: what it clusters: the ``rows``; their ``distance`` (AgglomerativeClustering, DBSCAN,
            HDBSCAN, OPTICS); or the ``affinity`` ½(A + Aᵀ) (AffinityPropagation,
            SpectralClustering).
        metric: of two rows, if `on` is ``distance``: ``kl``, half the symmetric divergence;
            ``js``, ``hellinger``, ``euclidean`` or ``cosine``.
    """

    estimator: Estimator
    params: dict[str, bool | int | float | str | None] = field(default_factory=dict)
    on: Literal["rows", "distance", "affinity"] = "rows"
    metric: Metric = "kl"

    def __post_init__(self) -> None:
        allowed = {"rows": get_args(Estimator), "distance": _DISTANCE, "affinity": _AFFINITY}
        if self.estimator not in allowed[self.on]:
            raise ComponentError(
                f"SklearnClusterer.on: {self.on} is for {', '.join(allowed[self.on])}. "
                f"Got {self.estimator} instead."
            )
        ours = {"random_state", _MATRIX_KEY.get(self.on)}
        known = [name for name in inspect.signature(self._class()).parameters if name not in ours]
        for name in self.params:
            if name not in known:
                near = did_you_mean(name, known)
                raise ComponentError(
                    f"SklearnClusterer.params: unknown parameter {name!r} of {self.estimator}{near}"
                )
        try:
            self._made(seed=0)._validate_params()
        except ValueError as error:
            raise ComponentError(f"SklearnClusterer.params: {error}") from None

    def __call__(
        self,
        field: AttentionField,
        *,
        rng: np.random.Generator,
        truth: np.ndarray | None = None,
    ) -> Segmentation:
        """Segment on the field's grid; proposals (K, H, W) come with the labels."""
        estimator = self._made(seed=int(rng.integers(2**31)))
        if self.on == "distance":
            given = pairwise(field.rows, self.metric).astype(np.float64)
        elif self.on == "affinity":
            given = field.symmetric().cpu().double().numpy()
        else:
            given = field.rows.cpu().numpy()
        try:
            labels = estimator.fit_predict(given)
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise ComponentError(
                f"SklearnClusterer: {self.estimator} refused a field of {len(given)} tokens: "
                f"{reason}"
            ) from error
        noise = labels.max() + 1
        return from_labels(np.where(labels < 0, noise, labels), field.grid)

    def _class(self) -> Any:
        import sklearn.cluster
        import sklearn.mixture

        home = sklearn.mixture if self.estimator == "GaussianMixture" else sklearn.cluster
        return getattr(home, self.estimator)

    def _made(self, seed: int) -> Any:
        """The estimator with its parameters, ours among them."""
        estimator = self._class()(**self.params)
        if self.on != "rows":
            estimator.set_params(**{_MATRIX_KEY[self.on]: "precomputed"})
        if "random_state" in estimator.get_params():
            estimator.set_params(random_state=seed)
        if self.estimator == "HDBSCAN" and "copy" not in self.params:
            estimator.set_params(copy=True)  # whose default is about to change, of which it warns
        return estimator
