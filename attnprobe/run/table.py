"""Tables of a run, read from parquet files of which nothing is believed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from attnprobe.errors import RunError
from attnprobe.files import LARGEST, regular

MOST_ROWS = 10_000_000
"""Of a table that is read."""


def read_table(path: Path, required: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of a table, in which these columns must be.

    Raises:
        FileNotFoundError: there is no such file.
        RunError: it can't be read, lacks a column, or would fill the memory.
    """
    try:
        file = parquet.ParquetFile(regular(path))
        missing = [name for name in required if name not in file.schema_arrow.names]
        if missing:
            raise RunError(f"{path}: written by another version; it has no {', '.join(missing)}")
        table = file.metadata
        size = sum(table.row_group(i).total_byte_size for i in range(table.num_row_groups))
        if table.num_rows > MOST_ROWS or size > LARGEST:
            raise RunError(f"{path}: {table.num_rows:,} rows, {size:,} bytes are too many")
        return file.read().to_pylist()
    except FileNotFoundError:
        raise
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise RunError(f"{path}: can't be read: {error}") from None
