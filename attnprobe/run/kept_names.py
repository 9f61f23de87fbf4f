"""What a run keeps of segments' names: a line a segment, the largest first."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le
from pydantic import StrictFloat, StrictInt, StrictStr, TypeAdapter
from typing_extensions import TypedDict

from attnprobe.errors import RunError
from attnprobe.fields import Segmentation
from attnprobe.files import make_folder, read_text, write_whole
from attnprobe.pictures.legend import LegendLine, legend
from attnprobe.run.forms import checked


class Line(TypedDict):
    """A segment: its label, its name or null, its colour in overlays, its share of the pixels."""

    number: Annotated[StrictInt, Ge(0)]
    name: StrictStr | None
    colour: StrictStr
    share: Annotated[StrictFloat | StrictInt, Ge(0), Le(1)]


_FORM = TypeAdapter(list[Line])


def save_names(path: Path, segmentation: Segmentation) -> None:
    """Write what segments are called, with their colours and shares.

    Raises:
        AttnProbeError: the file can't be written.
    """
    lines = legend(segmentation.labels, segmentation.names or {})
    make_folder(path.parent)
    with write_whole(path) as temporary:
        text = json.dumps([asdict(line) for line in lines], indent=2, ensure_ascii=False)
        temporary.write_text(f"{text}\n", encoding="utf-8")


def load_names(path: Path) -> list[LegendLine] | None:
    """What `save_names` wrote; None if there is no such file.

    Raises:
        RunError: it can't be read, or holds something else.
    """
    try:
        found = json.loads(read_text(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: can't be read: {error}") from None
    return [LegendLine(**line) for line in checked(_FORM, found, path)]
