"""Measured scores beside published ones, a table a dataset, with what keeps them apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from attnprobe.errors import AttnProbeError, did_you_mean
from attnprobe.evaluate.published import Conditions, Figure, Published, published


@dataclass(frozen=True)
class LeaderboardEntry:
    """A row of a leaderboard.

    Args:
        method: what scored; of a measured one the recipe's name or the label of a sweep's point.
        dataset: the name of its source in recipes.
        miou: percent.
        acc: percent, or None if it isn't known.
        conditions: under which it was scored.
        source: the paper, or the run's folder.
        measured: whether it is from a run.
        model: of a measured one: which model was probed.
        images: of a measured one: how many the run has.
        scored: of a measured one: how many of them have a score.
        segments: of a measured one: mean number an image.
        seconds: of a measured one: mean an image.
    """

    method: str
    dataset: str
    miou: float
    acc: float | None
    conditions: Conditions
    source: str
    measured: bool = False
    model: str = ""
    images: int | None = None
    scored: int | None = None
    segments: float | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, figure: Figure, all_of: Published) -> LeaderboardEntry:
        """A published figure as a row."""
        conditions = all_of.protocols[figure.protocol]
        given = (figure.method, figure.dataset, figure.miou, figure.acc)
        return cls(*given, conditions, figure.source)


@dataclass(frozen=True)
class Table:
    """The leaderboard of a dataset.

    Args:
        title: what the dataset is called.
        entries: by mIoU, the highest first; of equal ones the measured first.
        warnings: a sentence for each thing that keeps rows from being compared.
    """

    title: str
    entries: tuple[LeaderboardEntry, ...]
    warnings: tuple[str, ...]

    @property
    def conditions(self) -> tuple[Conditions, ...]:
        """The different conditions of the rows, from the top."""
        return tuple(dict.fromkeys(entry.conditions for entry in self.entries))

    def mark(self, entry: LeaderboardEntry) -> str:
        """The letter of a row's conditions."""
        return "abcdefghijklmnopqrstuvwxyz"[self.conditions.index(entry.conditions) % 26]


def leaderboard_tables(
    measured: Sequence[LeaderboardEntry], dataset: str | None = None
) -> list[Table]:
    """Put measured rows beside the published ones.

    Args:
        measured: as `attnprobe.run.measured` reads them.
        dataset: the only one that is wanted; by default those of the measured rows, or all that
            have published figures if there are none.

    Raises:
        AttnProbeError: nothing is known of the dataset.
    """
    known = published()
    datasets = list(dict.fromkeys(entry.dataset for entry in measured)) or _with_miou(known)
    if dataset is not None:
        every = list(dict.fromkeys([*datasets, *_with_miou(known)]))
        if dataset not in every:
            near = did_you_mean(dataset, every)
            raise AttnProbeError(f"no score of {dataset!r} is published or was given{near}")
        datasets = [dataset]
    return [_table(name, [e for e in measured if e.dataset == name], known) for name in datasets]


def _with_miou(known: Published) -> list[str]:
    """The datasets that have figures of the kind shown here."""
    return [name for name in known.datasets if known.on(name)]


def _table(dataset: str, measured: list[LeaderboardEntry], known: Published) -> Table:
    entries = [*measured, *(LeaderboardEntry.of(figure, known) for figure in known.on(dataset))]
    entries.sort(key=lambda entry: -entry.miou)
    about = known.datasets.get(dataset)
    title = about.title if about else dataset
    full = about.images if about else None
    warnings = [*_unlike(entries), *(w for entry in measured for w in _partial(entry, full))]
    return Table(title, tuple(entries), tuple(warnings))


def _unlike(entries: Iterable[LeaderboardEntry]) -> list[str]:
    """What is to be said where rows were scored under different conditions."""
    found = {entry.conditions for entry in entries}
    differing = [
        name
        for name in ("match", "size", "crop")
        if len({getattr(conditions, name) for conditions in found}) > 1
    ]
    if not differing:
        return []
    said = {"match": "how segments are matched", "size": "the size", "crop": "the crop"}
    what = ", ".join(said[name] for name in differing)
    return [f"protocols differ ({what}): only rows with the same letter compare"]


def _partial(entry: LeaderboardEntry, full: int | None) -> list[str]:
    """What is to be said where a run has no score for all images."""
    said = []
    if entry.scored != entry.images:
        said.append(f"{entry.method}: {entry.scored:,} of the run's {entry.images:,} images scored")
    if full is not None and entry.images != full:
        said.append(
            f"{entry.method}: its images are {entry.images:,}, published figures are over {full:,}"
        )
    return said
