"""One image through the pipeline, and what came of it."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attnprobe.errors import AttnProbeError
from attnprobe.files import write_whole

if TYPE_CHECKING:
    from attnprobe.data.base import Sample
    from attnprobe.evaluate import Scores
    from attnprobe.pipeline import Pipeline
    from attnprobe.run.folder import RunFolder


@dataclass(frozen=True)
class Outcome:
    """What came of one image.

    Args:
        image: the sample's name.
        where: its path or description.
        seconds: from reading it to its last file.
        segments: how many were found; None if it failed.
        scores: against its truth, where it has one.
        cut: what of the picture was left out, in a sentence, or None.
        error: why it failed, in a sentence, or None.
        trace: the traceback of a failure.
    """

    image: str
    where: str
    seconds: float
    segments: int | None = None
    scores: Scores | None = None
    cut: str | None = None
    error: str | None = None
    trace: str | None = None


def carry_image(pipeline: Pipeline, sample: Sample, folder: RunFolder) -> Outcome:
    """Segment one image, write its labels and overlay, score it.

    Whatever is wrong with the image is told in the outcome and stops nothing.

    Raises:
        AttnProbeError: the run's folder can't be written, which would befall every image.
    """
    from attnprobe.evaluate import image_scores

    start = time.perf_counter()
    try:
        image = sample.read()
        truth = sample.truth()
        view = pipeline.view(image)
        segmentation = pipeline.segment(image, truth)
        picture = segmentation.overlay(image.crop(view.box))
        scores = None
        if truth is not None:
            scores = image_scores(segmentation.labels, view.crop(truth))
    except Exception as error:  # a fault of any kind is this image's alone
        return Outcome(
            sample.name,
            sample.where,
            seconds=time.perf_counter() - start,
            error=_sentence(error),
            trace=traceback.format_exc(),
        )
    segmentation.save(folder.labels(sample.name))
    with write_whole(folder.overlay(sample.name)) as temporary:
        picture.save(temporary)
    return Outcome(
        sample.name,
        sample.where,
        seconds=time.perf_counter() - start,
        segments=segmentation.count,
        scores=scores,
        cut=view.cut,
    )


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, AttnProbeError) else f"{type(error).__name__}: {text}"
