"""A sweep: the runs of its points one after the other, and a row a point about how they went."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet

from attnprobe.errors import RunError
from attnprobe.files import write_whole
from attnprobe.run.folder import RECIPE, SWEEP, RunFolder
from attnprobe.run.forms import POINTS_FORM, checked
from attnprobe.run.results import MEANS
from attnprobe.run.table import read_table

if TYPE_CHECKING:
    from attnprobe.pipeline import Pipeline
    from attnprobe.recipe import Recipe
    from attnprobe.recipe.sweep import Point


class Sweep:
    """The points of a sweep and the folder that holds a run for each.

    Args:
        points: as `load_points` lists them.
        folder: where everything goes, held locked by the caller.

    Raises:
        RunError: the folder holds a run, or a sweep over other points.
    """

    def __init__(self, points: Sequence[Point], folder: RunFolder) -> None:
        self.points = points
        self.folder = folder
        if folder.is_run:
            raise RunError(f"{folder.path}: holds a single run, and this recipe is a sweep")
        if folder.is_sweep:
            self._refuse_other_points()

    def write(self) -> None:
        """Write sweep.parquet as its points stand.

        Raises:
            AttnProbeError: the folder can't be written, or a point's summary can't be read.
        """
        with write_whole(self.folder.path / SWEEP) as temporary:
            parquet.write_table(self.table(), temporary)

    def table(self) -> pa.Table:
        """A row a point: label, each swept value as JSON, counts, and means over its images."""
        columns = [
            ("label", pa.string()),
            *((key, pa.string()) for key in self.points[0].values),
            ("done", pa.int64()),
            ("failed", pa.int64()),
            *((name, pa.float64()) for name in MEANS),
        ]
        return pa.Table.from_pylist([self._row(point) for point in self.points], pa.schema(columns))

    def _row(self, point: Point) -> dict[str, Any]:
        summary = self.folder.point(point.label).summary()
        counts = {name: summary.get(name, 0) for name in ("done", "failed")}
        return {**_label_and_values(point), **counts, **summary.get("mean", {})}

    def _refuse_other_points(self) -> None:
        path = self.folder.path / SWEEP
        rows = _rows(path)
        found = {row["label"]: row for row in rows}
        wanted = {point.label: _label_and_values(point) for point in self.points}
        lines = [f"  - {label}" for label in found if label not in wanted]
        lines += [f"  + {label}" for label in wanted if label not in found]
        lines += [
            f"  {label}: other values"
            for label, said in wanted.items()
            if label in found and any(found[label].get(key) != said[key] for key in said)
        ]
        if lines:
            head = f"{self.folder.path}: holds a sweep over other points, and only the same go on:"
            raise RunError("\n".join([head, *lines]))


def pipeline_for(recipe: Recipe, last: Recipe, pipeline: Pipeline) -> Pipeline:
    """The pipeline of a point's recipe, with the model of the last one if it is the same.

    Raises:
        ModelError: another model can't be had.
        CaptureError: the model has none of the layers that the probe wants.
    """
    from attnprobe.hooks import attention_layers
    from attnprobe.recipe.values import check_layers

    if recipe.model != last.model:
        return replace(recipe.build(), cache=pipeline.cache)
    check_layers(recipe, attention_layers(pipeline.model.denoiser))
    return replace(
        pipeline,
        probe=recipe.probe,
        aggregate=recipe.aggregate,
        group=recipe.group,
        refine=recipe.refine,
        label=recipe.label,
        seed=recipe.seed,
    )


def runs_of(folder: RunFolder) -> list[RunFolder]:
    """The run in a folder, or those of its sweep's points, in order.

    Raises:
        RunError: it holds neither.
    """
    if folder.is_run:
        return [folder]
    if not folder.is_sweep:
        missing = (
            "no such folder" if not folder.path.is_dir() else f"no run, for no {RECIPE} is in it"
        )
        raise RunError(f"{folder.path}: {missing}")
    labels = [row["label"] for row in _rows(folder.path / SWEEP)]
    return [run for run in map(folder.point, labels) if run.is_run]


def _rows(path: Path) -> list[Any]:
    """The rows of a sweep's table.

    Raises:
        RunError: it can't be read, or is of another form.
    """
    return checked(POINTS_FORM, read_table(path), path)


def _label_and_values(point: Point) -> dict[str, str]:
    """A point's label and values as sweep.parquet has them."""
    values = {key: json.dumps(value, ensure_ascii=False) for key, value in point.values.items()}
    return {"label": point.label, **values}
