"""What is in a run's files: the forms in which they are written, by which they are checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Required

from annotated_types import Ge, Le
from pydantic import ConfigDict, StrictFloat, StrictInt, StrictStr, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from attnprobe.errors import RunError

Count = Annotated[StrictInt, Ge(0), Le(1 << 40)]
Number = StrictInt | StrictFloat
Counts = list[Count] | None
_ANY = ConfigDict(extra="allow")

FORMAT = 1
"""Of a run's folder: goes up by one where older versions would misread its files."""


class File(TypedDict, total=False):
    """A file's state."""

    where: StrictStr
    size: StrictInt | None
    time: StrictInt | None
    hash: StrictStr | None


class Entry(File, total=False):
    """An image in images.json."""

    image: Required[StrictStr]
    truth: File


class Row(TypedDict, total=False):
    """An image in scores.parquet, and a line of progress.jsonl or failures.jsonl."""

    image: Required[StrictStr]
    where: StrictStr
    seconds: Number
    segments: Count | None
    true_segments: Number | None
    acc: Number | None
    miou: Number | None
    ari: Number | None
    nmi: Number | None
    boundary_f: Number | None
    covering: Number | None
    tp: Counts
    fp: Counts
    fn: Counts
    valid: Count | None
    cut: StrictStr | None
    error: StrictStr | None
    trace: StrictStr | None
    files: list[File]


class Pooled(TypedDict, total=False):
    """Scores of all images together."""

    acc: Number | None
    miou: Number | None
    iou: dict[str, Number | None]


class Protocol(TypedDict, total=False):
    """How it was scored."""

    name: Required[StrictStr]
    match: StrictStr
    crop: StrictStr | None
    size: Count | None
    background: Count | None


class Summary(TypedDict, total=False):
    """summary.json."""

    recipe: StrictStr
    images: Count
    done: Count
    failed: Count
    scored: Count
    protocol: Protocol
    classes: list[StrictStr] | None
    mean: dict[str, Number | None]
    pooled: Pooled


class Model(TypedDict, total=False):
    """The model, as it describes itself."""

    __pydantic_config__ = _ANY  # type: ignore[misc]
    model: StrictStr


class Environment(TypedDict, total=False):
    """environment.json."""

    __pydantic_config__ = _ANY  # type: ignore[misc]
    format: Annotated[StrictInt, Ge(1), Le(FORMAT)]
    packages: dict[str, StrictStr | None]
    model: Model
    earlier: list[dict[str, Any]]


class Point(TypedDict, total=False):
    """A row of sweep.parquet."""

    __pydantic_config__ = _ANY  # type: ignore[misc]
    label: Required[StrictStr]


ENTRIES = TypeAdapter(list[Entry | StrictStr])
ROWS = TypeAdapter(list[Row])
SUMMARY_FORM = TypeAdapter(Summary)
TIMES = TypeAdapter(dict[str, Number])
ENVIRONMENT_FORM = TypeAdapter(Environment)
POINTS_FORM = TypeAdapter(list[Point])


def checked(form: TypeAdapter[Any], value: Any, path: Path) -> Any:
    """A value that was read, as it is, if it has the form.

    Raises:
        RunError: it hasn't; the file, the place in it, and what is wrong there.
    """
    try:
        form.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise RunError(f"{path}: is of another form: {place}: {first['msg']}") from None
    return value
