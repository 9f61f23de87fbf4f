"""Published settings run anew: what to run, on which data, and how near the scores come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attnprobe.errors import AttnProbeError, did_you_mean
from attnprobe.evaluate.leaderboard import LeaderboardEntry
from attnprobe.evaluate.published import Figure, published

if TYPE_CHECKING:
    from attnprobe.recipe import Override, Point

TOLERANCE = 1.0
"""Points of percent by which a faithful repetition may be off; docs/reproduce.md says why."""

ID_LIST = "Coco164kFull_Stuff_Coarse_7.txt"
"""The list of the 2,175 validation pictures that COCO-Stuff-27 is scored on."""

_LIST_PLACES = (".", "curated/val2017", "val2017")
"""Where the list may lie below the dataset's root, as in its own download and beside it."""


@dataclass(frozen=True)
class Setting:
    """A published setting.

    Args:
        recipe: the shipped recipe that is run.
        dataset: the name of its source.
        model: the preset that the figures are of.
        method: the figure's method in the published table; None if it isn't there.
        changes: to the recipe.
    """

    recipe: str
    dataset: str
    model: str = "sd14"
    method: str | None = None
    changes: tuple[str, ...] = ("evaluate.protocol=released",)

    @property
    def figure(self) -> Figure | None:
        """What was published, if it was."""
        return None if self.method is None else published().figure(self.method, self.dataset)


SETTINGS = {
    "diffseg-512": Setting("coco-stuff-27", "coco-stuff-27", method="DiffSeg (512)"),
    "diffseg-320": Setting(
        "coco-stuff-27",
        "coco-stuff-27",
        method="DiffSeg (320)",
        changes=("evaluate.protocol=released", "evaluate.size=320", "probe.size=320"),
    ),
    "cityscapes": Setting("cityscapes-27", "cityscapes-27"),
}
"""By the name that the command takes."""


def setting(name: str) -> Setting:
    """A setting by its name.

    Raises:
        AttnProbeError: there is none of that name.
    """
    if name not in SETTINGS:
        raise AttnProbeError(
            f"nothing published is called {name!r}{did_you_mean(name, [*SETTINGS])}"
        )
    return SETTINGS[name]


def points_of(
    chosen: Setting, root: str, limit: int | None, changes: Iterable[Override | str] = ()
) -> tuple[Point, ...]:
    """The recipe of a setting on the data below `root`, once these are whole.

    Args:
        chosen: the setting.
        root: the dataset's folder.
        limit: take only so many images, or all.
        changes: to the recipe, such as another model.

    Raises:
        AttnProbeError: data are missing; a line for each lack, and where it is had.
    """
    from attnprobe.recipe import Override, load_points

    said: list[Override | str] = [*chosen.changes]
    said.append(Override.to("images.root", root, f"--root {root}"))
    if chosen.dataset == "coco-stuff-27":
        said.append(Override.to("images.ids", str(_id_list(root)), f"--root {root}"))
    if limit is not None:
        said.append(Override.to("images.count", limit, f"--limit {limit}"))
    points = load_points(chosen.recipe, [*said, *changes])
    (source,) = points[0].recipe.sources
    lacks = source.inventory().lacks
    if lacks:
        raise AttnProbeError("\n".join(lack.describe() for lack in lacks))
    return points


def _id_list(root: str) -> Path:
    base = Path(root).expanduser()
    for place in _LIST_PLACES:
        if (base / place / ID_LIST).is_file():
            return base / place / ID_LIST
    # Missing as a whole or in part, the dataset itself is what the user should be told of first.
    return base / ID_LIST


@dataclass(frozen=True)
class Reproduction:
    """A run beside the published figure that it repeats.

    Args:
        measured: the run.
        figure: what was published; None if it isn't in the table.
        apart: sentences, each a reason why the two can't be compared.
    """

    measured: LeaderboardEntry
    figure: Figure | None
    apart: tuple[str, ...]

    @classmethod
    def of(cls, measured: LeaderboardEntry, chosen: Setting) -> Reproduction:
        """Put a run beside its figure."""
        full = published().datasets[chosen.dataset].images
        apart = []
        if measured.model != chosen.model:
            apart.append(
                f"the figures are of {chosen.model}, and numbers of another model, here "
                f"{measured.model}, don't compare"
            )
        if measured.scored != full:
            apart.append(f"{measured.scored:,} of the dataset's {full:,} images are scored")
        figure = chosen.figure
        if figure is not None and measured.conditions != published().protocols[figure.protocol]:
            apart.append(f"it was scored under another protocol: {measured.conditions.describe()}")
        return cls(measured, figure, tuple(apart))

    @property
    def differences(self) -> dict[str, tuple[float, float]]:
        """Measured and published percent by score, where both are known."""
        if self.figure is None:
            return {}
        pairs = {
            "mIoU": (self.measured.miou, self.figure.miou),
            "ACC": (self.measured.acc, self.figure.acc),
        }
        return {
            name: (one, other)
            for name, (one, other) in pairs.items()
            if one is not None and other is not None
        }

    @property
    def succeeded(self) -> bool | None:
        """Whether the scores are within the tolerance; None if nothing can be said."""
        if self.apart or not self.differences:
            return None
        return all(abs(one - other) <= TOLERANCE for one, other in self.differences.values())
