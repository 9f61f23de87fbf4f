"""DomainNet: pictures of 345 categories in six styles, without label files.

    root/
      clipart/zebra/clipart_345_000001.jpg
      infograph/…  painting/…  quickdraw/…  real/…  sketch/…

A zip file a style, about 18 GB and 0.6 million pictures in all, for non-commercial research, had
from ai.bu.edu/M3SDA.
Peng et al., "Moment Matching for Multi-Source Domain Adaptation", ICCV 2019.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import MinLen

from attnprobe.data.base import Count, PathText, Sample, Start, no_truth
from attnprobe.data.benchmark import Part, chosen, names_in
from attnprobe.data.inventory import Inventory, Lack
from attnprobe.errors import ImageError
from attnprobe.files import printable
from attnprobe.pictures.reading import IMAGE_SUFFIXES, read_image
from attnprobe.registry import source

Style = Literal["clipart", "infograph", "painting", "quickdraw", "real", "sketch"]
STYLES: tuple[Style, ...] = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")

_HAD = "http://ai.bu.edu/M3SDA/, {}.zip"


@source("domainnet")
@dataclass(frozen=True)
class DomainNet:
    """DomainNet's pictures, style by style; there is no truth.

    Within a style the first picture of every category comes first, then the second of every one.

    Args:
        root: folder with clipart/, infograph/, painting/, quickdraw/, real/ and sketch/.
        styles: one of these, or a list.
        count: how many pictures of each style; all by default.
        start: number of the first of each style.
    """

    root: PathText
    styles: Style | Annotated[tuple[Style, ...], MinLen(1)] = STYLES
    count: Count | None = None
    start: Start = 0

    def __call__(self) -> Sequence[Sample]:
        """List the pictures.

        Raises:
            ImageError: a style's folder is missing, or has no pictures.
        """
        samples = []
        for style in self._styles():
            folder = self._folder(style)
            for name in chosen(_by_turns(_pictures(folder)), self.start, self.count, folder):
                path = folder / name
                unique = "--".join([style, *os.path.splitext(name)[0].split("/")])
                read = partial(read_image, path)
                where = printable(path)
                samples.append(Sample(printable(unique), read, no_truth, where, (path,)))
        return samples

    def inventory(self) -> Inventory:
        """How many pictures of each style there are, and which styles are missing."""
        counts, lacks = [], []
        for style in self._styles():
            try:
                folder = self._folder(style)
                names = _pictures(folder)
                chosen(names, 0, None, folder)
            except ImageError as error:
                lacks.append(Lack(str(error)))
            else:
                counts.append((style, len(names), printable(folder)))
        return Inventory(tuple(counts), tuple(lacks))

    def _styles(self) -> tuple[Style, ...]:
        return (self.styles,) if isinstance(self.styles, str) else self.styles

    def _folder(self, style: Style) -> Path:
        root = Path(os.path.expanduser(self.root))
        return Part((style,), _HAD.format(style)).find(root, "pictures")


def _pictures(folder: Path) -> list[str]:
    return [name for name in names_in(folder, "") if name.lower().endswith(IMAGE_SUFFIXES)]


def _by_turns(names: list[str]) -> list[str]:
    """The names "category/picture" by turns of the categories."""
    categories: dict[str, list[str]] = {}
    for name in names:
        categories.setdefault(name.rpartition("/")[0], []).append(name)
    turns = chain.from_iterable(zip_longest(*categories.values()))
    return [name for name in turns if name is not None]
