"""Label files of any program, scored against the truths of a dataset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attnprobe.arrays import read_array
from attnprobe.data.base import Truth, each_person
from attnprobe.errors import AttnProbeError, ImageError
from attnprobe.evaluate.prediction_scores import ImageScores, PredictionScores
from attnprobe.evaluate.protocol import Protocol
from attnprobe.evaluate.scorer import Scorer
from attnprobe.pictures.labels import label_numbers
from attnprobe.pictures.reading import MAX_PIXELS, opened

if TYPE_CHECKING:
    from attnprobe.data.base import Sample


def evaluate_predictions(
    folder: Path, samples: Iterable[Sample], scorer: Scorer
) -> PredictionScores:
    """Score the label files of a folder, called as the samples are, against the samples' truths.

    Files are read one at a time. An image whose prediction or truth is missing or can't be used
    is left out, and told in `left_out`.

    Args:
        folder: holds ``<name>.png`` or ``<name>.npy`` for each; see `read_prediction`.
        samples: the dataset's images; only their truths are read.
        scorer: the protocol and the classes.

    Raises:
        ImageError: there is no such folder.
        AttnProbeError: no image could be scored.
    """
    if not folder.is_dir():
        raise ImageError(f"{folder}: there is no such folder of predictions")
    # One matching for all images can only be made once all have been seen.
    per_dataset = scorer.protocol.match == "per-dataset"
    together = scorer.protocol.metric(len(scorer.names or ())) if per_dataset else None
    images, left_out = [], {}
    for sample in samples:
        try:
            labels, truth = _aligned(folder, sample, scorer.protocol)
            scores = None
            if together is None:
                scores = scorer.image(labels, truth)
            else:
                for each in each_person(truth):
                    together.update(labels, each)
            regions, people = scorer.regions(labels, truth), scorer.people(labels, truth)
            images.append(ImageScores(sample.name, scores, regions, people))
        except AttnProbeError as error:
            left_out[sample.name] = " ".join(str(error).split())
    if not images:
        first = next(iter(left_out.values()), "there are none")
        raise AttnProbeError(f"none of {len(left_out)} images could be scored; the first: {first}")
    single = [image.scores for image in images if image.scores is not None]
    scores = scorer.pooled(single) if together is None else together.compute()
    assert scores is not None  # there are images
    return PredictionScores(scorer, images, left_out, scores)


def read_prediction(path: Path) -> np.ndarray:
    """Read labels (H, W): an indexed or grey PNG, or an array of whole numbers in a .npy file.

    In a PNG every number is a segment; in an array −1 is a pixel that is in none.

    Raises:
        ImageError: the file can't be read, has other than one whole number a pixel, or has no
            segment: −1 everywhere, or what pictures of its depth often say for void, 255 of 8
            bits and 65535 of 16.
    """
    voids = [-1, 255]
    if path.suffix == ".npy":
        try:
            labels = read_array(path, 8 * MAX_PIXELS)
        except (OSError, ValueError, EOFError) as error:
            raise ImageError(f"{path}: can't be read: {error}") from None
        if labels.ndim != 2 or labels.size == 0 or not np.issubdtype(labels.dtype, np.integer):
            raise ImageError(
                f"{path}: labels must be whole numbers of shape (H, W). "
                f"Got {labels.dtype} of shape {labels.shape} instead."
            )
    else:
        with opened(path) as image:
            labels = label_numbers(image)
        voids = [int(np.iinfo(labels.dtype).max)]
        labels = labels.astype(np.int32)
    first = int(labels.flat[0])
    if first in voids and (labels == first).all():
        raise ImageError(f"{path}: all void: every pixel is {first}")
    return labels


def _aligned(folder: Path, sample: Sample, protocol: Protocol) -> tuple[np.ndarray, Truth]:
    """An image's prediction and truth, cut and at the size at which they are scored.

    The prediction may have the picture's size, that of the part that is scored, or the protocol's.
    """
    truth = sample.truth()
    if truth is None:
        raise ImageError(f"{sample.where}: has no truth")
    file = _prediction(folder, sample.name)
    labels = read_prediction(file)
    whole = each_person(truth)[0].shape
    left, top, right, bottom = protocol.box((whole[0], whole[1]))
    sizes = [whole, (bottom - top, right - left)]
    if protocol.size is not None:
        sizes.append((protocol.size, protocol.size))
    if labels.shape not in sizes:
        allowed = " or ".join(dict.fromkeys(f"{width}×{height}" for height, width in sizes))
        height, width = labels.shape
        raise ImageError(f"{file}: must be {allowed}. Got {width}×{height} instead.")
    if labels.shape == whole:
        labels = labels[top:bottom, left:right]
    return protocol.resized(labels), protocol.seen(truth, (left, top, right, bottom))


def _prediction(folder: Path, name: str) -> Path:
    files = [folder / f"{name}{suffix}" for suffix in (".png", ".npy")]
    found = [file for file in files if file.is_file()]
    if not found:
        raise ImageError(f"{folder}: has neither {files[0].name} nor {files[1].name}")
    if len(found) > 1:
        raise ImageError(f"{folder}: has both {files[0].name} and {files[1].name}")
    return found[0]
