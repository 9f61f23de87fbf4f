"""What papers report, as data: methods, scores, under which protocol, and where it stands."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Le, MinLen

from attnprobe.errors import AttnProbeError, did_you_mean

FILE = Path(__file__).with_suffix(".yaml")
"""The figures that come with the package."""

Percent = Annotated[float, Ge(0), Le(100)]
Text = Annotated[str, MinLen(1)]

Scales = tuple[Annotated[float, Ge(0)], Annotated[float, Ge(0)]]
"""A measure at ODS and at OIS."""

_STRICT = {"extra": "forbid", "strict": True}


@dataclass(frozen=True)
class Conditions:
    """Under which conditions a score was taken, as far as they are known.

    Args:
        match: ``per-image``, ``per-dataset`` …: how segments meet classes; ``none`` where classes
            are named without matching; None if unknown.
        size: side in pixels at which labels are compared; 0 is each picture's own, None unknown.
        crop: whether only the centre square counts; None if unknown.
    """

    __pydantic_config__: ClassVar = _STRICT

    match: Text | None = None
    size: Annotated[int, Ge(0)] | None = None
    crop: bool | None = None

    def describe(self) -> str:
        """The conditions in words."""
        match = "matching not stated"
        if self.match is not None:
            match = "nothing matched" if self.match == "none" else f"matched {self.match}"
        area = {None: "crop not stated", True: "centre square", False: "whole picture"}[self.crop]
        size = f"at {self.size} px" if self.size else "at its own size"
        return f"{match}, {area}, {'size not stated' if self.size is None else size}"


@dataclass(frozen=True)
class Dataset:
    """A dataset that papers report on.

    Args:
        title: as papers call it.
        images: how many are scored.
        split: which part they are, where there are several.
    """

    __pydantic_config__: ClassVar = _STRICT

    title: Text
    images: Annotated[int, Gt(0)]
    split: Text | None = None


@dataclass(frozen=True)
class Figure:
    """A row of a paper's table.

    Args:
        method: as the paper calls it.
        dataset: the name of its source in recipes.
        protocol: a key of `Published.protocols`.
        miou: percent.
        source: paper, venue, table, and who quotes it.
        acc: percent; None if it isn't given.
    """

    __pydantic_config__: ClassVar = _STRICT

    method: Text
    dataset: Text
    protocol: Text
    miou: Percent
    source: Text
    acc: Percent | None = None


@dataclass(frozen=True)
class PeopleFigure:
    """A method against several people's truths, each measure at ODS and OIS; None if not given.

    Args:
        method: as the paper calls it.
        dataset: the name of its source in recipes.
        source: paper, venue, table, and who quotes it.
        covering: of people's regions, 0 to 1.
        pri: probabilistic Rand index, 0 to 1.
        vi: variation of information, bits.
        boundary_f: F-measure of boundaries, 0 to 1.
    """

    __pydantic_config__: ClassVar = _STRICT

    method: Text
    dataset: Text
    source: Text
    covering: Scales | None = None
    pri: Scales | None = None
    vi: Scales | None = None
    boundary_f: Scales | None = None


@dataclass(frozen=True)
class Published:
    """All figures, and what they refer to.

    Args:
        datasets: by the name of their source in recipes.
        protocols: by name.
        figures: in no order.
        people: those against several people's truths, which have no mIoU.
    """

    __pydantic_config__: ClassVar = _STRICT

    datasets: dict[str, Dataset]
    protocols: dict[str, Conditions]
    figures: tuple[Figure, ...]
    people: tuple[PeopleFigure, ...] = ()

    def on(self, dataset: str) -> tuple[Figure, ...]:
        """The figures on a dataset; none if it isn't one of `datasets`."""
        return tuple(figure for figure in self.figures if figure.dataset == dataset)

    def figure(self, method: str, dataset: str) -> Figure:
        """One figure.

        Raises:
            AttnProbeError: there is none of that method on the dataset.
        """
        known = {figure.method: figure for figure in self.on(dataset)}
        if method not in known:
            near = did_you_mean(method, list(known))
            raise AttnProbeError(f"no published figure of {method!r} on {dataset}{near}")
        return known[method]


@functools.cache
def published() -> Published:
    """The figures that come with the package."""
    return read(FILE)


def read(path: Path) -> Published:
    """Read a file of figures.

    Raises:
        AttnProbeError: it can't be read, or a line for each thing that is wrong in it.
    """
    from pydantic import TypeAdapter, ValidationError
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        # By way of JSON, where a list is a tuple's only form, and strictly.
        found: Published = TypeAdapter(Published).validate_json(json.dumps(data))
    except ValidationError as error:
        places = [".".join(map(str, item["loc"])) for item in error.errors()]
        lines = [
            f"{path}: {place}: {item['msg']}"
            for place, item in zip(places, error.errors(), strict=True)
        ]
        raise AttnProbeError("\n".join(lines)) from None
    except (OSError, ValueError, TypeError, YAMLError) as error:  # TypeError: no form in JSON
        raise AttnProbeError(f"{path}: can't be read: {' '.join(str(error).split())}") from None
    _check_references(found, path)
    return found


def _check_references(found: Published, path: Path) -> None:
    """Refuse figures whose dataset or protocol isn't told of, or that stand twice."""
    faults = []
    seen: set[tuple[str, str]] = set()
    for number, figure in enumerate(found.figures):
        at = f"{path}: figures.{number} ({figure.method})"
        if figure.dataset not in found.datasets:
            faults.append(f"{at}: unknown dataset {figure.dataset!r}")
        if figure.protocol not in found.protocols:
            faults.append(f"{at}: unknown protocol {figure.protocol!r}")
        key = (figure.method, figure.dataset)
        if key in seen:
            faults.append(f"{at}: given twice for {figure.dataset}")
        seen.add(key)
    for number, person in enumerate(found.people):
        at = f"{path}: people.{number} ({person.method})"
        if person.dataset not in found.datasets:
            faults.append(f"{at}: unknown dataset {person.dataset!r}")
        if (person.method, person.dataset) in seen:
            faults.append(f"{at}: given twice for {person.dataset}")
        seen.add((person.method, person.dataset))
    if faults:
        raise AttnProbeError("\n".join(faults))
