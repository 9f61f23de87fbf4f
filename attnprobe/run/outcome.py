"""One image through the pipeline, and what came of it."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attnprobe.data.base import Drawing, Truth
from attnprobe.errors import AttnProbeError
from attnprobe.evaluate import Regions, Scorer, Scores
from attnprobe.evaluate.people import NAMES, People
from attnprobe.fields import AttentionField, WordMaps
from attnprobe.files import write_whole
from attnprobe.run.kept_maps import save_maps
from attnprobe.run.kept_names import save_names
from attnprobe.run.kept_words import save_words
from attnprobe.run.listing import FileState, refuse_if_changed, states

if TYPE_CHECKING:
    from PIL.Image import Image

    from attnprobe.data.base import Sample
    from attnprobe.fields import AnyField, Segmentation
    from attnprobe.pipeline import Pipeline
    from attnprobe.run.folder import RunFolder

AGREEMENT = ("ari", "nmi", "boundary_f", "covering")
"""Numbers of a row that need no matching of segments and classes."""


@dataclass(frozen=True)
class Outcome:
    """What came of one image.

    Args:
        image: the sample's name.
        where: its path or description; empty if it was read back from scores.parquet.
        seconds: from reading it to its last file.
        segments: how many were found; None if it failed.
        scores: against its truth, where it has one.
        regions: how the segments lie over the truth's regions, where it has one.
        people: against people's truths, where the protocol scores them.
        cut: what of the picture was left out, in a sentence, or None.
        error: why it failed, in a sentence, or None.
        trace: the traceback of a failure.
        files: the state of its files when they were read; none if it is in none.
    """

    image: str
    where: str
    seconds: float
    segments: int | None = None
    scores: Scores | None = None
    regions: Regions | None = None
    cut: str | None = None
    error: str | None = None
    trace: str | None = None
    files: tuple[FileState, ...] = ()
    people: People | None = None

    def row(self) -> dict[str, Any]:
        """The image's row in scores.parquet, whose counts say all of its scores."""
        scores, regions = self.scores, self.regions
        tp, fp, fn = scores.counts.tolist() if scores else (None, None, None)
        return {
            "image": self.image,
            "segments": self.segments,
            "true_segments": regions.true_segments if regions else None,
            "acc": number(scores.acc if scores else None),
            "miou": number(scores.miou if scores else None),
            **{name: number(getattr(regions, name) if regions else None) for name in AGREEMENT},
            "tp": tp,
            "fp": fp,
            "fn": fn,
            "valid": scores.valid if scores else None,
            "cut": self.cut,
            **(_plain(self.people) if self.people else {}),
        }

    def line(self) -> dict[str, Any]:
        """All of it, as the journal keeps it."""
        return {
            **self.row(),
            "where": self.where,
            "seconds": self.seconds,
            "error": self.error,
            "trace": self.trace,
            "files": [asdict(state) for state in self.files],
        }

    def failure(self) -> dict[str, Any]:
        """Its line in failures.jsonl."""
        return {key: getattr(self, key) for key in ("image", "where", "error", "trace")}

    @classmethod
    def read(cls, row: dict[str, Any], where: str = "", seconds: float = math.nan) -> Outcome:
        """The outcome of a row or a line; where and seconds are those of the line, if it is one.

        Raises:
            ValueError: its counts don't go together.
        """
        scores = regions = None
        if row.get("tp") is not None:
            counts = np.array([row["tp"], row["fp"], row["fn"]], np.int64).reshape(3, -1)
            scores = Scores.from_counts(counts, row["valid"])
        if row.get("true_segments") is not None:
            known = {n: math.nan if row[n] is None else row[n] for n in AGREEMENT}
            regions = Regions(**known, segments=row["segments"], true_segments=row["true_segments"])
        return cls(
            row["image"],
            row.get("where", where),
            row.get("seconds", seconds),
            row.get("segments"),
            scores,
            regions,
            row.get("cut"),
            row.get("error"),
            row.get("trace"),
            tuple(FileState(**state) for state in row.get("files", ())),
            _people(row),
        )


def carry_image(
    pipeline: Pipeline, sample: Sample, folder: RunFolder, scorer: Scorer, with_maps: bool = True
) -> Outcome:
    """Segment one image, write its labels and overlay, its pooled maps if asked for, and score it.

    Whatever is wrong with the image is told in the outcome and stops nothing.

    Raises:
        AttnProbeError: the run's folder can't be written, which would befall every image.
    """
    start = time.perf_counter()
    try:
        found, kept = _segmented(pipeline, sample, scorer)
    except Exception as error:  # a fault of any kind is this image's alone
        return _failed(sample, start, error)
    folder.refuse_links()
    written: list[Path] = []
    try:
        for path, write in kept.files(folder, sample.name, with_maps):
            write(path)
            written.append(path)
    except Exception as error:
        if _is_of_the_disk(error):
            raise
        for path in written:
            path.unlink(missing_ok=True)
        return _failed(sample, start, error)
    return replace(found, seconds=time.perf_counter() - start)


@dataclass(frozen=True)
class _Kept:
    """What is written of an image.

    Args:
        segmentation: its segments.
        seen: the part of the picture that was segmented.
        overlay: that part with the segments over it.
        field: its aggregated attention.
        drawn: the picture, if the model drew it.
    """

    segmentation: Segmentation
    seen: Image
    overlay: Image
    field: AnyField
    drawn: Image | None

    def files(
        self, folder: RunFolder, image: str, with_maps: bool
    ) -> Iterator[tuple[Path, Callable[[Path], None]]]:
        """Each file, and what writes it."""
        # Before the labels, so that an image whose labels are there has its maps and names too.
        if with_maps and isinstance(self.field, AttentionField):
            yield folder.maps(image), partial(save_maps, picture=self.seen, field=self.field)
        if with_maps and isinstance(self.field, WordMaps):
            yield folder.words(image), partial(save_words, picture=self.seen, maps=self.field)
        if self.segmentation.names is not None:
            yield folder.names(image), partial(save_names, segmentation=self.segmentation)
        yield folder.labels(image), self.segmentation.save
        yield folder.overlay(image), partial(_save, self.overlay)
        if self.drawn is not None:
            yield folder.drawn(image), partial(_save, self.drawn)


def _segmented(pipeline: Pipeline, sample: Sample, scorer: Scorer) -> tuple[Outcome, _Kept]:
    """What came of an image, and what is to be written of it."""
    files = states(sample.files)
    image = sample.read()
    truth = sample.truth()
    refuse_if_changed(sample.files, files)
    attention = pipeline.attention(image)
    caption = sample.caption() if sample.caption else ""
    cut = pipeline.cut(attention, truth)
    segmentation = pipeline.named(cut, attention, caption, scorer.names or ())
    seen, fitted = attention.seen, attention.fitted
    drawn = attention.picture if isinstance(image, Drawing) else None
    kept = _Kept(segmentation, seen, segmentation.overlay(seen), attention.field, drawn)
    scores, regions, people = None, None, None
    if truth is not None:
        scores, regions, people = _score(segmentation, truth, fitted.box, scorer)
    found = Outcome(
        sample.name,
        sample.where,
        seconds=0.0,
        segments=segmentation.count,
        scores=scores,
        regions=regions,
        cut=fitted.cut,
        files=files,
        people=people,
    )
    return found, kept


def _save(picture: Image, path: Path) -> None:
    with write_whole(path) as temporary:
        picture.save(temporary)


def _failed(sample: Sample, start: float, error: Exception) -> Outcome:
    return Outcome(
        sample.name,
        sample.where,
        seconds=time.perf_counter() - start,
        error=_sentence(error),
        trace="".join(traceback.format_exception(error)),
    )


def _is_of_the_disk(error: Exception) -> bool:
    """Whether a file couldn't be written for its folder's sake, not for what was to be in it."""
    cause = error.__cause__ or error
    return isinstance(cause, OSError) and cause.errno is not None


def _score(
    segmentation: Segmentation, truth: Truth, box: tuple[int, int, int, int], scorer: Scorer
) -> tuple[Scores, Regions, People | None]:
    """Compare with the truth of the same view, at the size of the protocol."""
    if size := scorer.protocol.size:  # by the proposals, whose argmax at any size loses nothing
        segmentation = segmentation.resized((size, size))
    labels, truth = segmentation.labels, scorer.protocol.seen(truth, box)
    return (
        scorer.image(labels, truth),
        scorer.regions(labels, truth),
        scorer.people(labels, truth),
    )


def _plain(people: People) -> dict[str, Any]:
    """Whole numbers as they are, the others None where there is none."""
    values = {name: getattr(people, name) for name in NAMES}
    return {name: v if isinstance(v, int) else number(v) for name, v in values.items()}


def _people(row: dict[str, Any]) -> People | None:
    """The scores against people of a row that has them."""
    if row.get("pixels") is None:
        return None
    known: dict[str, Any] = {name: math.nan if row[name] is None else row[name] for name in NAMES}
    return People(**known)


def number(value: float | None) -> float | None:
    """The number, or None where there is none (NaN)."""
    return None if value is None or math.isnan(value) else float(value)


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, AttnProbeError) else f"{type(error).__name__}: {text}"
