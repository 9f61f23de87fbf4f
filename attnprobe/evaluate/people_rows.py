"""Methods side by side against several people's truths, measured and published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from attnprobe.evaluate.published import PeopleFigure, published
from attnprobe.evaluate.settings import MEASURES

Pair = tuple[float, float | None]
"""A measure at ODS and at OIS, or at ODS alone where there is one setting."""


@dataclass(frozen=True)
class Method:
    """A row.

    Args:
        name: of the recipe, or as a paper calls the method.
        dataset: the name of its source in recipes.
        scores: by the names of `MEASURES`, those that are known.
        source: the paper, or the run's folder.
        measured: whether it is from a run.
        images: of a measured one: how many were scored.
        settings: of a measured one: how many there are to choose from.
        setting: of a measured one: that of the best covering for all images.
        notes: a sentence for each thing to be said of it.
    """

    name: str
    dataset: str
    scores: dict[str, Pair]
    source: str
    measured: bool = False
    images: int | None = None
    settings: int | None = None
    setting: str = ""
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, figure: PeopleFigure) -> Method:
        """A published figure as a row."""
        known = {name: getattr(figure, name) for name in MEASURES}
        scores = {name: pair for name, pair in known.items() if pair is not None}
        return cls(figure.method, figure.dataset, scores, figure.source)


def beside_published(measured: Sequence[Method], dataset: str) -> list[Method]:
    """A dataset's measured rows and published ones, by covering at ODS, the highest first."""
    rows = [method for method in measured if method.dataset == dataset]
    rows += [Method.of(figure) for figure in published().people if figure.dataset == dataset]
    return sorted(rows, key=lambda method: -method.scores.get("covering", (0, None))[0])
