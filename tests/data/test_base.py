import dataclasses

import numpy as np
import pytest

from attnprobe.data import Classes
from attnprobe.data.scenes import Scenes
from attnprobe.errors import AttnProbeError


def test_classes():
    colours = np.arange(6, dtype=np.uint8).reshape(2, 3)
    classes = Classes(("sky", "sea"), colours)
    assert len(classes) == 2
    assert Classes(("sky",)).colours is None
    with pytest.raises(ValueError, match="read-only"):
        classes.colours[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        classes.names = ()


@pytest.mark.parametrize(
    ("names", "colours"),
    [
        ((), None),
        (("sky",), np.zeros((2, 3), np.uint8)),
        (("sky",), np.zeros((1, 4), np.uint8)),
        (("sky",), np.zeros((1, 3))),
    ],
)
def test_classes_that_do_not_fit(names, colours):
    with pytest.raises(AttnProbeError, match=r"^Classes: "):
        Classes(names, colours)


def test_scenes_have_objects_of_their_own_and_no_classes():
    assert getattr(Scenes(), "classes", None) is None
