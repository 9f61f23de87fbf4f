"""A run's label files in another form, in a folder of their own that is whole or not there."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from attnprobe.data.base import Drawing
from attnprobe.errors import AttnProbeError, RunError, did_you_mean
from attnprobe.export.coco import coco, panoptic, run_lengths
from attnprobe.export.labelled import Labelled
from attnprobe.export.labelstudio import labelstudio
from attnprobe.export.plain import arrays, voc, yolo
from attnprobe.pictures.reading import read_image

if TYPE_CHECKING:
    from attnprobe.data.base import Sample
    from attnprobe.run.folder import RunFolder

Writer = Callable[[Iterable[Labelled], Path], None]

FORMATS: dict[str, Writer] = {
    "coco": coco,
    "coco-panoptic": panoptic,
    "rle": run_lengths,
    "npy": arrays,
    "voc": voc,
    "labelstudio": labelstudio,
    "yolo-seg": yolo,
}
"""What writes the files of each format."""

ALONE = ("rle", "npy")
"""Formats that go without pictures."""


def export_run(run: Path, form: str, output: Path | None = None) -> Path:
    """Write the masks of a run's images; the folder they are in.

    Args:
        run: the run's folder.
        form: a key of `FORMATS`.
        output: a new folder; `export/<format>` in the run's own by default.

    Raises:
        AttnProbeError: there is no such format, no run, none of its images is done, a picture that
            the format wants can't be had any more, or the folder is there already or can't be
            written.
    """
    from attnprobe.run.folder import RunFolder
    from attnprobe.run.sweep import runs_of

    if form not in FORMATS:
        raise AttnProbeError(f"no format is called {form!r}{did_you_mean(form, list(FORMATS))}")
    folder = RunFolder(run)
    if [each.path for each in runs_of(folder)] != [run]:
        raise RunError(f"{run}: holds a sweep; export one of the folders in {run / 'points'}")
    target = output or run / "export" / form
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise AttnProbeError(f"{target}: is there already; name another folder with -o")
    temporary = target.parent / f".tmp-{uuid.uuid4().hex[:12]}"
    try:
        temporary.mkdir(parents=True)
        FORMATS[form](_images(folder, pictures=form not in ALONE), temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise AttnProbeError(f"{target}: can't be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _images(run: RunFolder, pictures: bool) -> Iterator[Labelled]:
    """The images that are done, one at a time."""
    from attnprobe.pictures.labels import load_labels
    from attnprobe.recipe import load_recipe
    from attnprobe.run.folder import RECIPE
    from attnprobe.run.kept_names import load_names
    from attnprobe.run.results import Results

    names = [outcome.image for outcome in Results.load(run).done]
    if not names:
        raise RunError(f"{run.path}: none of its images is done")
    samples: dict[str, Sample] = {}
    if pictures:
        recipe = load_recipe(run.path / RECIPE)
        samples = {sample.name: sample for sample in recipe.samples()}
    for name in names:
        labels = load_labels(run.labels(name))
        size = (labels.shape[0], labels.shape[1])
        picture = _picture(run, name, samples, size) if pictures else None
        lines = load_names(run.names(name))
        named = None if lines is None else {x.number: x.name for x in lines if x.name is not None}
        yield Labelled(name, labels, picture, named)


def _picture(
    run: RunFolder, name: str, samples: dict[str, Sample], size: tuple[int, int]
) -> Image.Image:
    """What was segmented: what the model drew, or the sample's picture or its centre.

    Raises:
        AttnProbeError: it is no longer there, or has another size.
    """
    drawn = run.path / "drawn" / f"{name}.png"
    if drawn.is_file():
        return read_image(drawn)
    if name not in samples:
        raise RunError(f"{run.path}: {name} is no longer among the images of its recipe")
    picture = samples[name].read()
    if isinstance(picture, Drawing):
        raise RunError(f"{drawn}: not there, where what the model drew should be")
    height, width = size
    if (picture.height, picture.width) == size:
        return picture
    if height != width or height != min(picture.size):
        raise RunError(
            f"{samples[name].where}: has changed since the run: {picture.width}×{picture.height}, "
            f"and its labels are {width}×{height}"
        )
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))
