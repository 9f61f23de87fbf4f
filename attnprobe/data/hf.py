"""Datasets of the Hugging Face hub, or local ones of the same form, read as a stream.

    org/name on the hub, or a folder with parquet files such as
      validation.parquet

with a column of pictures and, for truth, one of label pictures: grey or indexed, of the pictures'
sizes, void the largest number of their depth. Needs the package `datasets`, of the extra `data`.
"""

from __future__ import annotations

import atexit
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import MinLen
from PIL import Image

from attnprobe.data.base import Classes, Count, PathText, Sample, Start, no_truth
from attnprobe.data.inventory import Inventory
from attnprobe.data.table import plain_labels
from attnprobe.data.walk import walked
from attnprobe.errors import ComponentError, ImageError
from attnprobe.extras import extra
from attnprobe.files import regular
from attnprobe.pictures.labels import check_size, label_numbers
from attnprobe.pictures.reading import decoded, naming, upright_rgb, upright_size
from attnprobe.registry import source

Text = Annotated[str, MinLen(1)]


@source("hf")
@dataclass(frozen=True)
class HuggingFace:
    """A dataset of the Hugging Face hub with a column of pictures, read as a stream.

    Nothing is downloaded but the rows that are read. In order that costs nothing; a jump reads, or
    skips, all rows before it. Label pictures are grey or indexed PNG or TIFF; void is the largest
    number of their depth, 255 in 8 bits and 65535 in 16.

    Args:
        path: org/name on the hub, or a folder with parquet files.
        config: of a dataset that has several.
        split: such as ``validation``.
        image: column of the pictures.
        label: column of the label pictures; None where there are none.
        names: what the labels 0, 1, … are called; then no others are allowed.
        count: how many rows; all by default, where the dataset says how many it has.
        start: number of the first row.
    """

    path: PathText
    config: Text | None = None
    split: Text = "validation"
    image: Text = "image"
    label: Text | None = "label"
    names: Annotated[tuple[Text, ...], MinLen(1)] | None = None
    count: Count | None = None
    start: Start = 0

    def __post_init__(self) -> None:
        if self.names is not None and self.label is None:
            raise ComponentError("HuggingFace.names: are those of labels, so label is needed")

    @property
    def classes(self) -> Classes | None:
        """The classes, if they have names."""
        return None if self.names is None else Classes(self.names)

    def __call__(self) -> Sequence[Sample]:
        """List the rows.

        Raises:
            ImageError: `datasets` isn't installed, there is no such dataset, split or column, or
                the number of rows isn't known.
        """
        with naming(self._where()):
            total = _rows(self).total
            if total is None and self.count is None:
                raise ImageError("how many rows there are isn't known beforehand; give count")
            ends = [total, None if self.count is None else self.start + self.count]
            rows = range(self.start, min(end for end in ends if end is not None))
            if not rows:
                raise ImageError(f"start must be below the {total} rows. Got {self.start} instead.")
        return [self._sample(row) for row in rows]

    def inventory(self) -> Inventory:
        """How many rows there are, or 0 if that isn't known."""
        with naming(self._where()):
            return Inventory((("rows", _rows(self).total or 0, self._where()),), ())

    def _sample(self, row: int) -> Sample:
        truth = no_truth if self.label is None else partial(_truth, self, row)
        name = f"{os.path.basename(self.path.rstrip('/'))}-{self.split}-{row:06d}"
        return Sample(name, partial(_picture, self, row), truth, self._where(row))

    def _where(self, row: int | None = None) -> str:
        at = "" if row is None else f", row {row}"
        return f"{self.path}, {self.split}{at}"


def _picture(source: HuggingFace, row: int) -> Image.Image:
    with naming(source._where(row)), _decoded(source, row, source.image) as image:
        return upright_rgb(image)


def _truth(source: HuggingFace, row: int) -> np.ndarray:
    with naming(source._where(row)):
        with _decoded(source, row, source.label or "") as image:
            numbers = label_numbers(image)
        with _decoded(source, row, source.image) as image:
            check_size(numbers, upright_size(image))
        count = None if source.names is None else len(source.names)
        return plain_labels(count)(numbers)


@contextmanager
def _decoded(source: HuggingFace, row: int, column: str) -> Iterator[Image.Image]:
    """A row's picture as its file would be opened."""
    cell = _rows(source)[row][column]
    if cell is None or (cell["bytes"] is None and cell["path"] is None):
        raise ImageError(f"there is nothing in column {column!r}")
    if cell["bytes"] is not None:
        with decoded(io.BytesIO(cell["bytes"])) as image:
            yield image
        return
    import fsspec

    if "://" not in cell["path"]:
        regular(cell["path"])
    with fsspec.open(cell["path"], "rb") as file, decoded(io.BytesIO(file.read())) as image:
        yield image


class _Rows:
    """The rows of a stream by number; those that follow each other are read once."""

    def __init__(self, source: HuggingFace) -> None:
        with extra("data", "the source hf"):
            import datasets
        path = os.path.expanduser(source.path)
        try:
            for place, files in walked(Path(path)) if os.path.isdir(path) else ():
                for file in files:
                    regular(Path(place, file))
            builder = datasets.load_dataset_builder(path, source.config)
            stream = builder.as_streaming_dataset(split=source.split)
        except Exception as error:  # The library and the hub have errors of every kind.
            raise ImageError(f"can't be opened: {' '.join(str(error).split())}") from error
        for column in filter(None, (source.image, source.label)):
            if not isinstance((stream.features or {}).get(column), datasets.Image):
                pictures = [k for k, f in stream.features.items() if isinstance(f, datasets.Image)]
                raise ImageError(
                    f"{column!r} is no column of pictures; these are: {', '.join(pictures)}"
                )
            # Decoded later, so that a broken picture is its own row's fault alone.
            stream = stream.cast_column(column, datasets.Image(decode=False))
        self.total = _row_count(builder, source.split)
        self._stream = stream
        self._rest: Iterator[dict[str, Any]] = iter(())
        self._number = -2
        self._row: dict[str, Any] = {}

    def __getitem__(self, number: int) -> dict[str, Any]:
        if number != self._number:
            if number != self._number + 1:
                self._rest = iter(self._stream.skip(number))
            self._number = -2  # until the row is there
            row = next(self._rest, None)
            if row is None:
                raise ImageError("there is no such row")
            self._row, self._number = row, number
        return self._row


def _row_count(builder: Any, split: str) -> int | None:
    """Rows of a split: as the dataset says it, or as the ends of its parquet files do."""
    if builder.info.splits and split in builder.info.splits:
        return builder.info.splits[split].num_examples
    files = (builder.config.data_files or {}).get(split, [])
    if not files or not all(str(file).endswith(".parquet") for file in files):
        return None
    import fsspec
    from pyarrow import parquet

    total = 0
    for file in files:
        with fsspec.open(file) as opened:
            total += parquet.read_metadata(opened).num_rows
    return total


@lru_cache(maxsize=2)
def _rows(source: HuggingFace) -> _Rows:
    return _Rows(source)


# A stream that is open when Python ends complains about the modules that are gone by then.
atexit.register(_rows.cache_clear)
