"""Each breach of a refiner's contract is told; `tests/test_testing.py` checks all of ours."""

import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from attnprobe import AttnProbeError, Segmentation
from attnprobe.fields import WordMaps
from attnprobe.testing import check_refiner


@dataclass(frozen=True)
class Same:
    """Leaves all as it is.

    Args:
        more: nothing.
    """

    more: int = 0

    def __call__(self, segmentation, field, *, rng, image=None):
        return segmentation


class OfWords(Same):
    def __call__(self, segmentation, field: WordMaps, *, rng, image=None):
        assert isinstance(field, WordMaps)
        return segmentation


class Enlarged(Same):
    def __call__(self, segmentation, field, *, rng, image=None):
        if image is None:
            raise AttnProbeError("no picture")
        return segmentation.resized((image.height, image.width))


class Bare(Same):
    def __call__(self, segmentation, field, *, rng, image=None):
        return segmentation.labels


class Scribbler(Same):
    def __call__(self, segmentation, field, *, rng, image=None):
        segmentation.labels[:] = 0
        return segmentation


class Painter(Same):
    def __call__(self, segmentation, field, *, rng, image=None):
        if image is not None:
            image.putpixel((0, 0), (0, 0, 0))
        return segmentation


class FieldScribbler(Same):
    def __call__(self, segmentation, field, *, rng, image=None):
        field.rows[0] = field.rows[-1]
        return segmentation


class Moody(Same):
    def __call__(self, segmentation, field, *, rng, image=None):
        return Segmentation(np.random.randint(9, size=field.grid))  # noqa: NPY002


class Contrary(Same):
    def __call__(self, segmentation, field, *, rng, image=None):
        masks = [torch.from_numpy(segmentation.labels != k).float() for k in range(2)]
        return replace(segmentation, proposals=torch.stack(masks))


class ByNumber(Same):
    """Gives half of the lowest segment away.

    Args:
        more: nothing.
    """

    def __call__(self, segmentation, field, *, rng, image=None):
        labels = segmentation.labels.copy()
        mine = np.argwhere(labels == labels.min())
        y, x = mine[: len(mine) // 2].T
        labels[y, x] = labels.max()
        return Segmentation(labels)


class NeedsPicture(Same):
    def __call__(self, segmentation, field, *, rng, image=None):
        return segmentation.resized((image.height, image.width))


class Choosy(Same):
    def __call__(self, segmentation, field, *, rng, image=None):
        if field.grid == (3, 7):
            raise AttnProbeError("square only")
        return segmentation


class Gapless(Same):
    def __call__(self, segmentation, field, *, rng, image=None):
        masks = torch.eye(2)[torch.from_numpy(segmentation.labels).long()]
        return replace(segmentation, proposals=masks.permute(2, 0, 1))


class Slow(Same):
    def __call__(self, segmentation, field, *, rng, image=None):
        time.sleep(0.02)
        return segmentation


@pytest.mark.parametrize("component", [Same(), OfWords(), Enlarged()])
def test_what_keeps_the_contract_passes(component):
    check_refiner(component)


@pytest.mark.parametrize(
    ("component", "sentence"),
    [
        (Same, "give an instance, not the class"),
        (Bare(), "must answer with a Segmentation"),
        (Scribbler(), "it wrote into the segmentation"),
        (Painter(), "it wrote into the image"),
        (FieldScribbler(), "it wrote into the field"),
        (Moody(), "two calls with one rng seed gave different labels"),
        (Contrary(), "labels must be the proposals' argmax"),
        (ByNumber(), "segments with other numbers gave other segments"),
        (NeedsPicture(), "on no picture .*AttributeError"),
        (Choosy(), "on a wide grid .*refused ordinary input: square only"),
        (Gapless(), "on numbers with gaps .*IndexError"),
    ],
)
def test_each_breach_is_told(component, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_refiner(component)


def test_a_slow_one_is_told():
    with pytest.raises(AssertionError, match="s, more than "):
        check_refiner(Slow(), seconds=0.01)
