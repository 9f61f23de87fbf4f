"""Whether a run that was repeated gave the same labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnprobe.errors import RunError
from attnprobe.files import read_bytes
from attnprobe.pictures.labels import load_labels
from attnprobe.run.folder import RunFolder
from attnprobe.run.results import Results
from attnprobe.run.resume import environment_notes


@dataclass(frozen=True)
class Repetition:
    """How the labels of two runs of one recipe compare, file by file.

    Args:
        same: images whose label files have the same bytes.
        different: images whose files differ, each with the share of pixels that do.
        only_one: images that just one of the runs has done.
        notes: what differs between the runs outside the recipe.
    """

    same: tuple[str, ...]
    different: dict[str, float]
    only_one: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether both have the same images with the same labels."""
        return not (self.different or self.only_one)

    def describe(self) -> str:
        """The finding in a sentence, and what may be the reason in others."""
        if self.equal:
            return f"labels are the same: {len(self.same)} images, byte for byte"
        parts = []
        if self.different:
            share = sum(self.different.values()) / len(self.different)
            worst = max(self.different, key=lambda image: self.different[image])
            count = len(self.same) + len(self.different)
            parts.append(
                f"in {len(self.different)} of {count} images, {share:.2%} of their pixels on "
                f"average, most in {worst}"
            )
        if self.only_one:
            parts.append(f"{len(self.only_one)} images are done in one run only")
        return "\n".join([f"labels differ: {'; '.join(parts)}", *self.notes])


def repetition(first: RunFolder, second: RunFolder) -> Repetition:
    """Compare the label files of a run and its repetition.

    Raises:
        RunError: a run's files can't be read.
        ImageError: a label file can't be read.
    """
    done = [{outcome.image for outcome in Results.load(run).done} for run in (first, second)]
    same, different = [], {}
    for image in sorted(done[0] & done[1]):
        files = first.labels(image), second.labels(image)
        try:
            equal = read_bytes(files[0]) == read_bytes(files[1])
        except OSError as error:
            raise RunError(f"{error.filename}: can't be read: {error.strerror}") from None
        if equal:
            same.append(image)
        else:
            different[image] = _share(*map(load_labels, files))
    environments = [run.environment() for run in (first, second)]
    return Repetition(
        tuple(same),
        different,
        tuple(sorted(done[0] ^ done[1])),
        tuple(environment_notes(*environments)),
    )


def _share(one: np.ndarray, other: np.ndarray) -> float:
    """Share of pixels whose numbers differ; all of them if the sizes do."""
    return float(np.mean(one != other)) if one.shape == other.shape else 1.0
